// Texts under a schema, a regular expression or a grammar, from models that write at random.
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { openEngine } from '#engine';
import type { Engine } from '../engines/engine.ts';
import { attention, defineModel, initialise, layer, shortConv, swiglu } from '../liquid/index.ts';
import { trainBpe } from '../text/bpe-train.ts';
import { randomSchema } from './grammar/testing-schemas.ts';
import { Generator } from './generator.ts';
import { LanguageModel } from './model.ts';
import type { TextOptions } from './model.ts';
import { Scheduler } from './scheduler.ts';
import type { SchedulerOptions } from './scheduler.ts';
import { corpus, upload } from './testing.node.ts';

const FULL = process.env['LFM_FULL'] === '1';
const END = 2;

let engine: Engine;
let models: LanguageModel[] = [];

async function open(seed: number, options: SchedulerOptions = {}): Promise<LanguageModel> {
  const tokenizer = await trainBpe([corpus], { vocabSize: 300 });
  const mlp = swiglu({ intermediateSize: 16 });
  const definition = defineModel({
    // Wider than the vocabulary, as models often are.
    vocabSize: tokenizer.vocabSize + 20,
    hiddenSize: 16,
    initializerRange: 0.3,
    contextLength: 4096,
    layers: [layer(shortConv({ kernel: 3 }), mlp), layer(attention({ heads: 2, headDim: 8 }), mlp)],
  });
  const weights = await upload(engine, definition, initialise(definition, seed));
  const scheduler = new Scheduler(new Generator(engine, definition, weights), options);
  const parameters = { rowsIn: () => undefined };
  const model = new LanguageModel({ name: 'random', scheduler, tokenizer, parameters, engine, stopIds: [END] });
  models.push(model);
  return model;
}

beforeAll(async () => {
  engine = await openEngine({ name: 'onnx', threads: 1 });
});
afterAll(async () => {
  for (const model of models) await model[Symbol.asyncDispose]();
  await engine.close();
});

describe('a text under a schema [onnx]', () => {
  const count = FULL ? 1000 : 60;

  it(`is valid JSON of it ${count} times out of ${count}`, { timeout: 600_000 }, async () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false, unicodeRegExp: true });
    const texts: { readonly seed: number; readonly text: string; readonly problem: string }[] = [];
    for (const modelSeed of [1, 2]) {
      const model = await open(modelSeed, { maxBatch: 16, maxQueue: count });
      const seeds = Array.from({ length: count / 2 }, (_, i) => modelSeed * 1000 + i);
      texts.push(
        ...(await Promise.all(
          seeds.map(async (seed) => {
            const schema = randomSchema(seed);
            const reply = await model.generate('It', {
              schema,
              seed,
              maxTokens: 3000,
              temperature: 0.5 + (seed % 3) / 2,
            });
            const isValid = reply.finishReason === 'stop' && ajv.validate(schema, reply.object);
            const problem = isValid ? '' : `${reply.finishReason} ${JSON.stringify(schema)} ${ajv.errorsText()}`;
            return { seed, text: reply.text, problem };
          }),
        )),
      );
    }
    expect(texts.filter(({ problem }) => problem !== '')).toEqual([]);
    expect(texts.length).toBe(count);
    expect(new Set(texts.map(({ text }) => text)).size).toBeGreaterThan(count * 0.8);
  });

  const person = z.object({
    name: z.string().max(5),
    age: z.int().min(0).max(130),
    tags: z.array(z.enum(['a', 'b'])).max(2),
  });

  it('has its type from a schema of zod', async () => {
    const model = await open(3);
    const { object } = await model.generate('It', { schema: person, seed: 1 });
    const age: number = object.age;
    expect(person.parse(object)).toEqual(object);
    expect(age).toBeLessThanOrEqual(130);
    const plain = await model.generate('It', { maxTokens: 2, seed: 1 });
    expect(plain.object).toBeUndefined();
  });

  it('is the same alone, beside others, deterministic, and guessed from itself', async () => {
    const model = await open(4, { maxBatch: 4 });
    const fixed = await open(4, { maxBatch: 4, deterministic: true });
    const options = { schema: person, seed: 5, temperature: 0.8 } as const;
    const { text } = await model.generate('It', options);
    const [first, second] = model.samples('It', { ...options, n: 2 });
    const free = model.generate('It', { seed: 9, maxTokens: 40 });
    const texts = await Promise.all([first, second, free, fixed.generate('It', options)]);
    expect([texts[0]?.text, texts[3]?.text]).toEqual([text, text]);
    expect(texts[1]?.text).not.toBe(text);
    person.parse(texts[1]?.object);
    const list = { schema: z.array(z.literal('down, down')).min(6).max(6), seed: 1 };
    const guessed = model.generate('It', { ...list, promptLookup: 4 });
    expect((await guessed).text).toBe((await model.generate('It', list)).text);
  });

  it('leaves the log-probabilities the model gives, and shows forbidden tokens among the likeliest', async () => {
    const model = await open(5);
    const reply = await model.generate('It', { schema: person, seed: 1, topLogprobs: 100, maxTokens: 20 });
    for (const { id, logprob, top = [] } of reply.tokens) {
      const same = top.find((one) => one.id === id);
      if (same) expect(logprob).toBe(same.logprob);
      expect(top.reduce((sum, one) => sum + Math.exp(one.logprob), 0)).toBeLessThan(1.0001);
    }
    const start = reply.tokens[0];
    expect(start?.top?.length).toBe(100);
    expect(start?.logprob).toBeLessThan(-1);
  });

  it('says why there is no object', async () => {
    const model = await open(6);
    const cut = await model.generate('It', { schema: person, seed: 1, maxTokens: 3 });
    expect(cut.finishReason).toBe('length');
    expect(() => cut.object).toThrow(expect.objectContaining({ code: 'no-object' }));
    const stopped = await model.generate('It', { schema: person, seed: 1, stop: 'name' });
    expect([stopped.text.endsWith('"'), stopped.finishReason]).toEqual([true, 'stop']);
    expect(() => stopped.object).toThrow(/stop string/);
    const odd = z.literal(['x', 'y']).refine((value) => value.length > 1, 'no z');
    const refused = await model.generate('It', { schema: odd, seed: 1 });
    expect(() => refused.object).toThrow(/no z/);
  });

  it('lets other requests be where one cannot be followed', async () => {
    const model = await open(7);
    const good = model.generate('It', { schema: person, seed: 1 });
    const bad = model.generate('It', { schema: { not: {} } });
    const both = model.generate('It', { regex: 'a', grammar: 'root ::= "a"' });
    const [one, two, three] = await Promise.allSettled([good, bad, both]);
    expect(one.status).toBe('fulfilled');
    expect(two).toMatchObject({ reason: { code: 'bad-schema' } });
    expect(three).toMatchObject({ reason: { code: 'bad-limit' } });
    expect(model.scheduler.load).toEqual({ waiting: 0, running: 0 });
  });

  it.each([
    ['a regular expression', { regex: '(brook|mill)(, [a-z]{1,4}){2}\\.' }, /^(brook|mill)(, [a-z]{1,4}){2}\.$/],
    ['a grammar', { grammar: 'root ::= item{3}\nitem ::= "(" [0-9] item? ")"' }, /^(\(\d.*\)){3}$/],
    ['one possible text', { regex: 'down, down' }, /^down, down$/],
    ['nothing', { regex: '' }, /^$/],
  ] satisfies [string, TextOptions, RegExp][])('matches %s', async (_, options, wanted) => {
    const model = await open(8);
    for (let seed = 0; seed < 5; seed++) {
      const { text, finishReason } = await model.generate('It', { ...options, seed, maxTokens: 400 });
      expect([text, finishReason]).toEqual([expect.stringMatching(wanted), 'stop']);
    }
  });

  it('ends where it must, and where it may only as the model likes', async () => {
    const model = await open(9);
    const texts = await Promise.all(
      Array.from({ length: 40 }, (_, seed) => model.generate('It', { regex: 'a{1,9}', seed, temperature: 9 })),
    );
    expect(new Set(texts.map(({ text }) => text.length)).size).toBeGreaterThan(3);
    const forced = await model.generate('It', { regex: 'a{1,9}', seed: 1, logitBias: { [END]: 100 } });
    expect(forced.text.length).toBeLessThanOrEqual(2);
    expect(forced.tokens.map(({ id }) => id)).not.toContain(END);
  });
});
