// The generator against transformers' logits, and against itself: chunks, rows, growth, limits, aborts, nothing left behind.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import '../../test/matcher.ts';
import type { Engine } from '../engines/engine.ts';
import { referenceEngine } from '../engines/reference/engine.ts';
import { attention, defineModel, layer, shortConv, swiglu } from '../liquid/index.ts';
import { initialise } from '../liquid/initialise.ts';
import type { GeneratorOptions } from './generator.ts';
import { Generator } from './generator.ts';
import { Sampler } from './sampler.ts';
import { capacitiesOf } from './state.ts';
import { engines, readFixture, upload } from './testing.node.ts';

const { model, weights, rows, logitsAt } = await readFixture();
const [first, second] = rows;
const near = { relative: 1e-3, absolute: 1e-3 };
const equal = { relative: 1e-5, absolute: 1e-5 };

async function make(engine: Engine, options: GeneratorOptions = {}): Promise<Generator> {
  return new Generator(engine, model, await upload(engine, model, weights), options);
}

/** Logits after a whole text, in a fresh state. */
async function logitsOf(generator: Generator, ids: readonly number[]): Promise<Float32Array> {
  const state = await generator.open(ids.length);
  const [logits = new Float32Array()] = await generator.feed(state, [ids]);
  generator.release(state);
  return logits.slice();
}

describe.each(engines)('generator [%s]', (_, open) => {
  let engine: Engine;
  let generator: Generator;
  beforeAll(async () => {
    engine = await open();
    generator = await make(engine);
  });
  afterAll(async () => {
    await generator.close();
    expect(engine.live().buffers).toBe(0);
    await engine.close();
  });

  it('gives the logits and the greedy token of transformers at every position', async () => {
    const state = await generator.open();
    for (const [position, id] of first.entries()) {
      const [logits = new Float32Array()] = await generator.feed(state, [[id]]);
      const expected = logitsAt(0, position);
      expect(logits).toBeAllClose(expected, near);
      expect(new Sampler({ temperature: 0 }).sample(logits).id).toBe(expected.indexOf(Math.max(...expected)));
    }
    generator.release(state);
  });

  it('refuses what it cannot do, and works on', async () => {
    const before = engine.live().buffers;
    const state = await generator.open();
    const feed = (prompt: readonly number[], more: readonly number[] = []) =>
      generator.feed(state, more.length > 0 ? [prompt, more] : [prompt]);
    await expect(feed([128])).rejects.toMatchObject({ code: 'bad-token' });
    await expect(feed([1.5])).rejects.toMatchObject({ code: 'bad-token' });
    await expect(feed(new Array<number>(513).fill(9))).rejects.toMatchObject({ code: 'context-full' });
    await expect(feed([1], [2])).rejects.toMatchObject({ code: 'too-many-rows' });
    expect((await feed(first)).length).toBe(1);
    await generator.close();
    await expect(generator.open()).rejects.toMatchObject({ code: 'model-closed' });
    expect(engine.live().buffers).toBeLessThan(before);
    generator = await make(engine);
  });

  it('takes a prompt in chunks to the same logits, growing as it goes', async () => {
    await using chunked = await make(engine, { chunk: 5, capacities: [6, 12, 20] });
    const state = await chunked.open();
    expect(state.capacity).toBe(6);
    await chunked.feed(state, [first.slice(0, 5)]);
    const [logits = new Float32Array()] = await chunked.feed(state, [first.slice(5)]);
    expect(state.capacity).toBe(20);
    expect(logits).toBeAllClose(await logitsOf(generator, first), equal);
    expect(logits).toBeAllClose(logitsAt(0, 16), near);
  });

  it('runs rows of unequal lengths side by side', async () => {
    await using pair = await make(engine, { chunk: 7 });
    const state = await pair.open(1, 2);
    expect(await pair.feed(state, [[], second.slice(0, 3)])).toEqual([undefined, expect.anything()]);
    const [a = new Float32Array(), b = new Float32Array()] = await pair.feed(state, [first, second.slice(3, 11)]);
    expect(a).toBeAllClose(logitsAt(0, 16), near);
    expect(b).toBeAllClose(logitsAt(1, 10), near);
    expect([...state.lengths]).toEqual([17, 11]);
    const [none, last = new Float32Array()] = await pair.feed(state, [[], second.slice(11, 12)]);
    expect(none).toBeUndefined();
    expect(last).toBeAllClose(logitsAt(1, 11), near);
  });

  it('answers all positions, and hidden states', async () => {
    const state = await generator.open(17);
    await generator.feed(state, [first.slice(0, 4)]);
    const [all = new Float32Array()] = await generator.step(state, [first.slice(4, 9)], { positions: 'all' });
    for (let t = 0; t < 5; t++) expect(all.subarray(t * 128, (t + 1) * 128)).toBeAllClose(logitsAt(0, 4 + t), near);
    const [hidden] = await generator.step(state, [first.slice(9, 11)], { positions: 'all', output: 'hidden' });
    expect(hidden?.length).toBe(2 * model.hiddenSize);
    const [logits = new Float32Array()] = await generator.feed(state, [first.slice(11)]);
    expect(logits).toBeAllClose(logitsAt(0, 16), near);
    generator.release(state);
  });
});

describe('sizes', () => {
  const mlp = swiglu({ intermediateSize: 16 });
  const sizes = { vocabSize: 32, hiddenSize: 8, contextLength: 5000 };
  it('are few, and one where nothing grows', () => {
    expect(capacitiesOf(defineModel({ ...sizes, layers: [layer(attention({ heads: 2 }), mlp)] }))).toEqual([
      512, 1024, 2048, 4096, 5000,
    ]);
    expect(capacitiesOf(defineModel({ ...sizes, layers: [layer(shortConv(), mlp)] }))).toEqual([5000]);
    expect(capacitiesOf(model)).toEqual([512]);
  });

  it.each([8, 600])('window states of %i grow up to their window [reference]', async (window) => {
    const windowed = defineModel({ ...sizes, layers: [layer(attention({ heads: 2, window }), mlp)] });
    const arrays = initialise(windowed, 3);
    const engine = referenceEngine();
    const text = Array.from({ length: 14 }, (_, t) => (7 * t) % 32);
    const run = async (capacities: readonly number[]) => {
      await using generator = new Generator(engine, windowed, await upload(engine, windowed, arrays), { capacities });
      const state = await generator.open();
      for (const id of text.slice(0, -1)) await generator.feed(state, [[id]]);
      const [logits = new Float32Array()] = await generator.feed(state, [text.slice(-1)]);
      return logits;
    };
    expect(await run([4, 6, 20])).toBeAllClose(await run([20]), equal);
  });

  it.each(
    engines.flatMap(([name, open]) =>
      [
        [3, 0],
        [5, 2],
        [600, 1],
      ].map(([window = 3, sinks = 0]) => ({ name, open, window, sinks })),
    ),
  )('a window of $window behind $sinks sinks: one token, many and rows side by side agree [$name]', async (given) => {
    const { open, window, sinks } = given;
    const layers = [layer(attention({ heads: 2, window, sinks }), mlp), layer(shortConv(), mlp)];
    const windowed = defineModel({ ...sizes, layers });
    const engine = await open();
    const weights = await upload(engine, windowed, initialise(windowed, 3));
    const generator = new Generator(engine, windowed, weights, { capacities: [64] });
    const text = Array.from({ length: 23 }, (_, t) => (7 * t * t + t) % 32);
    const fed = async (pieces: readonly number[], beside: readonly number[] = []) => {
      const state = await generator.open(64, beside.length > 0 ? 2 : 1);
      let at = 0;
      let last = new Float32Array();
      for (const size of pieces) {
        const rows = [text.slice(at, at + size), ...(beside.length > 0 ? [beside.slice(at, at + size)] : [])];
        last = (await generator.feed(state, rows))[0]?.slice() ?? last;
        at += size;
      }
      generator.release(state);
      return last;
    };
    const ones = new Array<number>(23).fill(1);
    const whole = await fed([23]);
    expect(await fed(ones)).toBeAllClose(whole, near);
    expect(await fed([4, 1, 1, 9, 1, 1, 1, 5])).toBeAllClose(whole, near);
    expect(await fed(ones, text.toReversed())).toBeAllClose(whole, near);
    await generator.close();
    await engine.close();
  });

  it('of states are no matter to a program [onnx]', async () => {
    const compiled: string[] = [];
    const engine = await (engines.find(([name]) => name === 'onnx')?.[1]() ?? expect.fail('onnx is absent'));
    const counting: Engine = {
      ...engine,
      compile(program, options) {
        compiled.push(program.inputs.find(({ name }) => name.startsWith('state.'))?.value.shape.join() ?? '');
        return engine.compile(program, options);
      },
    };
    const generator = await make(counting, { capacities: [6, 12, 20] });
    const state = await generator.open();
    for (const id of first.slice(0, -1)) await generator.feed(state, [[id]]);
    const [logits = new Float32Array()] = await generator.feed(state, [first.slice(-1)]);
    expect(state.capacity).toBe(20);
    expect(logits).toBeAllClose(logitsAt(0, 16), near);
    expect(compiled.length).toBe(1);
    await generator.close();
    await engine.close();
  });

  it('are programs of few lengths where lengths are fixed [reference]', async () => {
    const compiled: string[] = [];
    const plain = referenceEngine();
    const engine: Engine = {
      ...plain,
      compilesBySize: true,
      compile(program, options) {
        compiled.push(program.inputs.find(({ name }) => name === 'tokens')?.value.shape.join() ?? 'grow');
        return plain.compile(program, options);
      },
    };
    await using generator = await make(engine);
    await generator.prepare();
    const state = await generator.open();
    const [logits = new Float32Array()] = await generator.feed(state, [first]);
    await generator.feed(state, [[3]]);
    expect(compiled).toEqual(['1,1', '1,64']);
    expect(logits).toBeAllClose(logitsAt(0, 16), near);
  });
});
