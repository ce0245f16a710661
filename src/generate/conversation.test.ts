// Conversations: what they reuse, forks, rewinding, files that go on and files that cannot; scores, embeddings, samples.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../engines/engine.ts';
import { attention, defineModel, layer, stateTypes, swiglu } from '../liquid/index.ts';
import { countOf } from '../tensor/index.ts';
import { decodeConversation, encodeConversation } from './conversation-file.ts';
import { joined, sha256 } from './digest.ts';
import { load } from './load.ts';
import type { LanguageModel } from './model.ts';
import { engines, writeModelFolder } from './testing.node.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lfm-talk-'));
  await writeModelFolder(folder, { chats: true });
});
afterAll(() => rm(folder, { recursive: true }));

const brief = { temperature: 1, seed: 3, maxTokens: 6 };

describe.each(engines)('a conversation [%s]', (_, open) => {
  let engine: Engine;
  let model: LanguageModel;
  beforeAll(async () => {
    engine = await open();
    model = await load(folder, { engine });
  });
  afterAll(async () => {
    await model[Symbol.asyncDispose]();
    expect(engine.live().buffers).toBe(0);
    await engine.close();
  });

  it('computes only what is new, to the same answers as a chat from its beginning', async () => {
    const talk = model.conversation({ system: 'Flow.' });
    const first = await talk.say('Hi', brief);
    const second = await talk.say('Where?', { ...brief, seed: 4 });
    expect(talk.messages.map(({ role }) => role)).toEqual(['system', 'user', 'assistant', 'user', 'assistant']);
    expect(talk.messages[2]?.content).toBe(first.text);
    expect(second.usage.cachedTokens).toBe(first.usage.promptTokens + first.usage.completionTokens - 1);
    await using fresh = await load(folder, { engine, cacheBytes: 0 });
    const again = fresh.conversation({ system: 'Flow.' });
    expect((await again.say('Hi', brief)).text).toBe(first.text);
    const cold = await again.say('Where?', { ...brief, seed: 4 });
    expect(cold.usage.cachedTokens).toBe(0);
    expect(cold.text).toBe(second.text);
    cold.tokens.forEach(({ logprob }, i) =>
      expect(Math.abs(logprob - (second.tokens[i]?.logprob ?? 9))).toBeLessThan(1e-4),
    );
  });

  it('forks and rewinds to what it was', async () => {
    const talk = model.conversation();
    const first = await talk.say('One', brief);
    const branch = talk.fork();
    const two = await talk.say('Two', brief);
    expect((await branch.say('Two', brief)).text).toBe(two.text);
    await branch.say('Three', { ...brief, maxTokens: 2 });
    expect([talk.turns, branch.turns]).toEqual([2, 3]);
    branch.rewind(2);
    expect(branch.messages).toEqual(talk.messages.slice(0, 2));
    const again = await branch.say('Two', brief);
    expect(again.text).toBe(two.text);
    expect(again.usage.cachedTokens).toBeGreaterThanOrEqual(first.usage.promptTokens);
    expect(() => branch.rewind(3)).toThrow(expect.objectContaining({ code: 'bad-rewind' }));
  });

  it('remembers a reply that was cut short, and refuses two at once', async () => {
    const talk = model.conversation();
    const reply = talk.say('Hi', { ...brief, maxTokens: 40 });
    for await (const piece of reply) {
      if (!piece) continue;
      await expect(talk.say('Again', brief)).rejects.toMatchObject({ code: 'conversation-busy' });
      expect(() => talk.rewind()).toThrow(expect.objectContaining({ code: 'conversation-busy' }));
      break;
    }
    expect(talk.turns).toBe(1);
    await expect(talk.say('x'.repeat(600), brief)).rejects.toMatchObject({ code: 'context-full' });
    expect(talk.turns).toBe(1);
    expect((await talk.say('More', brief)).finishReason).toBeDefined();
  });

  it('goes on from a file, on a model that has just been loaded', async () => {
    const path = join(folder, 'talk.state');
    const talk = model.conversation({ system: 'Flow.' });
    const first = await talk.say('Hi', brief);
    await talk.save(path);
    const second = await talk.say('Where?', brief);
    await using fresh = await load(folder, { engine });
    const restored = fresh.conversation();
    await restored.load(path);
    expect(restored.messages).toEqual(talk.messages.slice(0, 3));
    const again = await restored.say('Where?', brief);
    expect(again.text).toBe(second.text);
    expect(again.usage.cachedTokens).toBe(first.usage.promptTokens + first.usage.completionTokens - 1);
  });

  it('scores choices as the model would have chosen them', async () => {
    const text = 'The brook runs';
    const choices = [' down the hill', ' down', ' nowhere', ' 🌊'];
    const scores = await model.score(text, choices);
    for (const [i, choice] of choices.entries()) {
      const whole = await model.generate(text + choice, { maxTokens: 1, promptLogprobs: true, topLogprobs: 2 });
      const added = model.encode(text + choice).length - model.encode(text).length;
      expect(whole.promptTokens).toHaveLength(whole.usage.promptTokens - 1);
      const sum = whole.promptTokens.slice(-added).reduce((total, { logprob }) => total + logprob, 0);
      expect(Math.abs((scores[i] ?? 0) - sum)).toBeLessThan(1e-3);
      expect(whole.promptTokens[0]?.top).toHaveLength(2);
    }
    await expect(model.score(text, [''])).rejects.toMatchObject({ code: 'empty-prompt' });
    expect(await model.score(text, [])).toEqual([]);
    // A token's own log-probability, forced and read off.
    const forced = await model.generate(text, { temperature: 0, maxTokens: 1, topLogprobs: 3 });
    expect(forced.tokens[0]?.top?.[0]).toEqual({ id: forced.tokens[0]?.id, logprob: forced.tokens[0]?.logprob });
  });

  it('embeds a text', async () => {
    const last = await model.embed('The brook', { pooling: 'last' });
    const mean = await model.embed('The brook');
    expect([last.length, mean.length]).toEqual([16, 16]);
    expect(await model.embed('The brook')).toEqual(mean);
    expect(mean).not.toEqual(last);
    const one = model.tokenizer.decode(model.encode('The brook').slice(0, 1));
    if (model.encode(one).length === 1)
      expect(await model.embed(one)).toEqual(await model.embed(one, { pooling: 'last' }));
    await expect(model.embed('The brook', { signal: AbortSignal.abort(new Error('no')) })).rejects.toThrow('no');
  });

  it('samples several texts from one', async () => {
    const [a, b, c] = model.samples('The', { ...brief, n: 3 });
    const texts = [await c, await a, await b].map((done) => done?.text);
    expect(new Set(texts).size).toBeGreaterThan(1);
    expect(texts[1]).toBe((await model.generate('The', brief)).text);
  });
});

describe('a conversation file [reference]', () => {
  it('is refused where it is not whole, not this model’s, or newer', async () => {
    await using model = await load(folder, { engine: 'reference' });
    const talk = model.conversation();
    await talk.say('Hi', brief);
    const whole = await talk.toBytes();
    const refused = (bytes: Uint8Array, code: string) =>
      expect(model.conversation().fromBytes(bytes), code).rejects.toMatchObject({ name: 'LfmError', code });
    for (const length of [0, 7, 20, 60, whole.length >> 1, whole.length - 1])
      await refused(whole.slice(0, length), 'bad-conversation');
    for (const at of [0, 13, 40, whole.length - 40, whole.length - 1])
      await refused(whole.with(at, (whole[at] ?? 0) ^ 1), 'bad-conversation');
    await refused(whole.with(8, 3), 'newer-conversation');
    const other = await mkdtemp(join(tmpdir(), 'lfm-other-'));
    await writeModelFolder(other, { chats: true });
    const weights = await readFile(join(other, 'model.safetensors'));
    // One bit of one weight.
    await writeFile(join(other, 'model.safetensors'), weights.with(weights.length - 1, (weights.at(-1) ?? 0) ^ 1));
    await using stranger = await load(other, { engine: 'reference' });
    await expect(stranger.conversation().fromBytes(whole)).rejects.toMatchObject({ code: 'wrong-model' });
    await rm(other, { recursive: true });
    await expect(talk.load(join(folder, 'none'))).rejects.toMatchObject({ code: 'file-not-found' });
    await model.conversation().fromBytes(whole);
  });

  it('of version 1 gives a model with windows its text, whose state is computed again', async () => {
    const layers = [layer(attention({ heads: 2, window: 3, sinks: 1 }), swiglu({ intermediateSize: 8 }))];
    const windowed = defineModel({ vocabSize: 8, hiddenSize: 8, layers });
    const arrays = Object.fromEntries(
      Object.entries(stateTypes(windowed, { batch: 1, capacity: 2 })).map(([name, { shape }]) => [
        `state.${name}`,
        { dtype: 'float32' as const, shape: shape.map(Number), data: new Float32Array(countOf(shape.map(Number))) },
      ]),
    );
    const state = { length: 2, rows: {}, snapshots: [{ position: 2, arrays }] };
    const turns = [{ user: 'a', answer: 'b', tokens: [1, 2], isExact: true }];
    const saved = await encodeConversation({ model: 'm', name: 'n', system: undefined, turns, state });
    const older = saved.slice(0, -32).with(8, 1);
    const signed = joined([older, await sha256(older)]);
    const read = (bytes: Uint8Array) => decodeConversation(bytes, windowed, { model: 'm', name: 'n' });
    expect((await read(saved)).state?.length).toBe(2);
    const again = await read(signed);
    expect([again.state, again.turns]).toEqual([undefined, turns]);
  });
});
