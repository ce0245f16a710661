// npm run bench -- structured: what it costs to keep texts to a schema: tokens a second with and without, in turns, on one model.
// Log-probabilities and text are the same program's in both; only the mask and what it forbids differ.
import { parseArgs } from 'node:util';
import { load } from '../src/generate/load.ts';
import { Automaton } from '../src/generate/grammar/automaton.ts';
import { Grammar } from '../src/generate/grammar/grammar.ts';
import { readSchema } from '../src/generate/grammar/schema.ts';
import { Vocabulary } from '../src/generate/grammar/vocabulary.ts';
import { LfmError } from '../src/tensor/error.ts';
import { REAL_MODEL } from '../test/real-model.ts';
import { describeRun } from './machine.ts';
import { median } from './median.ts';

/** A list of records as people ask for, long enough for every turn. */
const text = { type: 'string', minLength: 1, maxLength: 40 };
const record = {
  type: 'object',
  properties: {
    name: text,
    country: text,
    population: { type: 'integer', minimum: 0 },
    rating: { type: 'number', minimum: 0, maximum: 10 },
    kind: { enum: ['capital', 'harbour', 'village'] },
    languages: { type: 'array', items: text, minItems: 1, maxItems: 4 },
    mayor: { anyOf: [{ type: 'null' }, { type: 'object', properties: { name: text }, required: ['name'] }] },
  },
  required: ['name', 'country', 'population', 'rating', 'kind', 'languages', 'mayor'],
};
const schema = { type: 'array', items: record, minItems: 20 };

export async function benchStructured(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      model: { type: 'string', default: REAL_MODEL },
      tokens: { type: 'string', default: '128' },
      turns: { type: 'string', default: '5' },
      json: { type: 'boolean', default: false },
    },
  });
  await using model = await load(values.model, { cacheBytes: 0 });
  const { tokenizer } = model;
  const refuse = (what: string) => new LfmError('bad-schema', what);
  const timed = <T>(work: () => T): [T, number] => {
    const begin = performance.now();
    return [work(), performance.now() - begin];
  };
  const [vocabulary, vocabularyMs] = timed(() => new Vocabulary(tokenizer, []));
  const [grammar, compileMs] = timed(
    () => new Grammar(new Automaton(readSchema(schema, refuse), refuse), vocabulary, refuse),
  );

  const maxTokens = Number(values.tokens);
  const prompt = 'The cities of the world, as a list:\n';
  const run = async (form: object) => {
    const seed = 1;
    const ids: number[] = [];
    const cpu = process.cpuUsage();
    let first = 0;
    for await (const choice of model.scheduler.generate(model.encode(prompt), {
      seed,
      maxTokens,
      temperature: 0.8,
      ...form,
    })) {
      if (ids.length === 0) first = performance.now();
      ids.push(choice.id);
    }
    const { user, system } = process.cpuUsage(cpu);
    return {
      ids,
      rate: (ids.length - 1) / ((performance.now() - first) / 1000),
      cpuMs: (user + system) / 1000 / ids.length,
    };
  };
  const { constraintOf } = await import('../src/generate/grammar/index.ts');
  const constrained = { constraint: constraintOf({ schema }, tokenizer, true) };
  await run({});
  const { ids } = await run(constrained);
  const free: { readonly rate: number; readonly cpuMs: number }[] = [];
  const kept: typeof free = [];
  for (let turn = 0; turn < Number(values.turns); turn++) {
    free.push(await run({}));
    kept.push(await run(constrained));
  }
  // The same text again through a grammar that has seen nothing: what its masks take.
  const masks: number[] = [];
  let at = grammar.start;
  for (const id of ids) {
    masks.push(timed(() => grammar.mask(at))[1]);
    at = grammar.advance(at, vocabulary.bytesOf(id)) ?? at;
  }
  const summary = (of: 'rate' | 'cpuMs') => ({
    free: median(free.map((turn) => turn[of])),
    schema: median(kept.map((turn) => turn[of])),
    ratio: median(free.map((turn, i) => (kept[i]?.[of] ?? 0) / turn[of])),
  });
  const found = {
    ...(await describeRun('structured')),
    model: model.name,
    vocabulary: vocabulary.size,
    vocabularyMs,
    compileMs,
    maskMs: {
      mean: masks.reduce((sum, ms) => sum + ms, 0) / masks.length,
      median: median(masks),
      most: Math.max(...masks),
    },
    tokensASecond: summary('rate'),
    // The prompt's with them. Of a busy machine this says more.
    cpuMsAToken: summary('cpuMs'),
    text: tokenizer.decode(ids).slice(0, 200),
  };
  if (values.json) console.log(JSON.stringify(found));
  else console.dir(found, { depth: 3 });
}
