// Training an adapter of a frozen base: peft's losses, factors and merged matrices, and a folder that peft reads.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Engine } from '../engines/engine.ts';
import { referenceEngine } from '../engines/reference/engine.ts';
import { openSafetensors } from '../files/safetensors.node.ts';
import { dequantizeMatrix, quantizeMatrix } from '../files/quantized.ts';
import { loadAdapter } from '../generate/adapter.ts';
import { saveAdapter } from '../generate/adapter-folder.node.ts';
import { openAdapter, openSource } from '../generate/source.node.ts';
import { engines } from '../generate/testing.node.ts';
import { definedModel } from '../generate/weights.ts';
import { defineModel, factorNames, formsFor, gradientProgram, initialise, layer } from '../liquid/index.ts';
import { parameterTypes, shortConv, swiglu, withLowRank, withQuantized } from '../liquid/index.ts';
import type { Model } from '../liquid/index.ts';
import { peftNames } from '../models/peft.ts';
import type { HostArray } from '../tensor/index.ts';
import type { Trainer } from './trainer.ts';
import { createTrainer } from './trainer.ts';

const fixtures = new URL('../../test/fixtures/', import.meta.url).pathname;
const rate = 0.01;
const [rows, length] = [2, 13];

async function arraysOf(path: string): Promise<Record<string, Float32Array>> {
  await using file = await openSafetensors(path);
  const found: Record<string, Float32Array> = {};
  for (const name of file.tensors.keys()) found[name] = await file.readFloat32(name);
  return found;
}

/** The fixture's base, adapted as its adapter says, with what training begins from. */
async function readBase() {
  const source = await openSource(join(fixtures, 'models', 'lfm2'));
  const { model, parameters } = definedModel(source);
  const before = await arraysOf(join(fixtures, 'lora', 'train', 'adapter_model.safetensors'));
  const moduleOf = (name: string) => (parameters.rowsIn(name)?.tensor ?? '').replace(/\.weight$/, '');
  const targets = Object.keys(model.parameters).filter((name) => before[peftNames(moduleOf(name)).a]);
  const adapted = withLowRank(model, Object.fromEntries(targets.map((name) => [name, { rank: 4, scale: 2 }])));
  const values: Record<string, Float32Array> = {};
  for (const name of Object.keys(model.parameters)) values[name] = await parameters.readFloat32(name);
  for (const name of targets) {
    const [ours, theirs] = [factorNames(name), peftNames(moduleOf(name))];
    values[ours.a] = before[theirs.a] ?? new Float32Array();
    values[ours.b] = before[theirs.b] ?? new Float32Array();
  }
  await source.weights.close();
  return { model: adapted, parameters, values, targets, moduleOf };
}

/** Positions 0 to T - 2 predict the next token; the last one predicts nothing. */
function batchOf(ids: Float32Array) {
  const tokens = Int32Array.from(ids);
  const isLast = (at: number) => at % length === length - 1;
  return {
    tokens,
    labels: tokens.map((_, at) => (isLast(at) ? 0 : (tokens[at + 1] ?? 0))),
    weights: Float32Array.from(tokens, (_, at) => (isLast(at) ? 0 : 1 / (rows * (length - 1)))),
  };
}

const furthest = (a: Float32Array, b: Float32Array | undefined) =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b?.[i] ?? NaN))), 0);

/** W + scale B A, in float64. */
function merged(w: Float32Array, a: Float32Array, b: Float32Array, rank: number, scale: number): Float32Array {
  const columns = a.length / rank;
  return w.map((value, at) => {
    const [row, column] = [Math.floor(at / columns), at % columns];
    let sum = 0;
    for (let r = 0; r < rank; r++) sum += (b[row * rank + r] ?? 0) * (a[r * columns + column] ?? 0);
    return value + scale * sum;
  });
}

/** Runs five steps as the oracle did, and one that only measures. */
async function trained(engine: Engine, use: (trainer: Trainer, losses: readonly number[]) => Promise<void>) {
  const base = await readBase();
  const expected = await arraysOf(join(fixtures, 'lora', 'train', 'expected.safetensors'));
  const batch = batchOf(expected['ids'] ?? new Float32Array());
  const trainer = await createTrainer({
    engine,
    model: base.model,
    batch: { size: rows, length },
    start: (key) => base.values[key],
  });
  const losses: number[] = [];
  for (let step = 1; step <= 6; step++) {
    const { result } = await trainer.step(batch, step, step === 6 ? 0 : rate);
    losses.push((await result).loss);
  }
  await use(trainer, losses);
  trainer.dispose();
  expect(engine.live().buffers).toBe(0);
  return { base, expected };
}

/** Where the oracle script is to look at what is saved: `tools/oracles/lora.py FOLDER`. */
const kept = process.env['LFM_LORA_OUT'];

describe.each(engines)('training an adapter [%s]', (_, open) => {
  it("makes peft's losses, factors and merged matrices of five steps, and leaves the base as it was", async () => {
    const engine = await open();
    const after: Record<string, Float32Array> = {};
    let measured: readonly number[] = [];
    const { base, expected } = await trained(engine, async (trainer, losses) => {
      measured = losses;
      for (const name of Object.keys(trainer.parameters)) after[name] = await trainer.read(name);
    });
    expect(furthest(Float32Array.from(measured.slice(0, 5)), expected['losses'])).toBeLessThan(1e-5);
    expect(Math.abs((measured[5] ?? NaN) - (expected['last']?.[0] ?? NaN))).toBeLessThan(1e-5);
    expect((measured[0] ?? 0) - (measured[5] ?? 0)).toBeGreaterThan(0.01);
    expect(base.targets).toHaveLength(17);
    const empty = new Float32Array();
    for (const name of base.targets) {
      const module = base.moduleOf(name);
      const ours = factorNames(name);
      const [w = empty, a = empty, b = empty] = [after[name], after[ours.a], after[ours.b]];
      expect(w).toEqual(base.values[name]);
      expect(furthest(a, expected[`trained.${module}.lora_A`]), name).toBeLessThan(1e-5);
      expect(furthest(b, expected[`trained.${module}.lora_B`]), name).toBeLessThan(1e-5);
      expect(furthest(merged(w, a, b, 4, 2), expected[`merged.${module}`]), name).toBeLessThan(1e-5);
    }
    await engine.close();
  });

  it('saves a folder that loads as the adapter it was', async () => {
    const engine = await open();
    const folder = kept ?? (await mkdtemp(join(tmpdir(), 'lfm-lora-')));
    const { parameters, model } = await readBase();
    const saved = new Map<string, Float32Array>();
    await trained(engine, async (trainer) => {
      const read = async (name: string) => {
        const values = await trainer.read(name);
        saved.set(name, values);
        return values;
      };
      await saveAdapter(join(folder, 'adapter'), { model, parameters, read });
    });
    const source = await openAdapter(join(folder, 'adapter'));
    const base = await openSource(join(fixtures, 'models', 'lfm2'));
    const plain = definedModel(base);
    const adapter = await loadAdapter(engine, plain.model, plain.parameters, source, 'mine');
    await base.weights.close();
    await source.close();
    expect(Object.keys(adapter.buffers).toSorted()).toEqual([...saved.keys()].toSorted());
    for (const [name, buffer] of Object.entries(adapter.buffers)) {
      const scale = name.endsWith('.lora_B.weight') ? 2 : 1;
      expect(await engine.download(buffer)).toEqual(saved.get(name)?.map((value) => scale * value));
      buffer.dispose();
    }
    if (kept === undefined) await rm(folder, { recursive: true });
    await engine.close();
  });

  it('goes over a packed base as over the floats that it stands for', async () => {
    const engine = await open();
    const form = { bits: 4, block: 32, affine: false } as const;
    const sizes = { vocabSize: 40, hiddenSize: 32, initializerRange: 0.2 };
    const floats = defineModel({ ...sizes, layers: [layer(shortConv(), swiglu({ intermediateSize: 64 }))] });
    const packed = withQuantized(floats, formsFor(floats, form), 'float32');
    const values = initialise(floats, 3);
    const parts: Record<string, HostArray> = {};
    for (const [name, { quantized, shape }] of Object.entries(packed.parameters)) {
      if (!quantized) continue;
      const matrix = quantizeMatrix(values[name] ?? new Float32Array(), shape, form);
      values[name] = dequantizeMatrix(matrix, form);
      for (const [part, array] of Object.entries(matrix)) parts[`${name}.${part}`] = array;
    }
    const matrices = Object.keys(floats.parameters).filter((name) => /proj\.weight|w\d\.weight/.test(name));
    const ranks = Object.fromEntries(matrices.map((name) => [name, { rank: 2, scale: 1.5 }]));
    const fresh = initialise(withLowRank(floats, ranks), 4);
    const tokens = Int32Array.from({ length: 2 * 9 }, (_, at) => (at * 7) % 40);
    const stepsOf = async (model: Model) => {
      const types = parameterTypes(model);
      const start = (key: string) => {
        const [part, type] = [parts[key], types[key]];
        return part && type ? engine.upload(type.dtype, type.shape.map(Number), part) : (values[key] ?? fresh[key]);
      };
      const trainer = await createTrainer({ engine, model, batch: { size: 2, length: 8 }, start });
      const losses: number[] = [];
      for (let step = 1; step <= 4; step++) losses.push((await (await trainer.step(tokens, step, 0.02)).result).loss);
      trainer.dispose();
      return Float32Array.from(losses);
    };
    const one = await stepsOf(withLowRank(floats, ranks));
    expect(furthest(await stepsOf(withLowRank(packed, ranks)), one)).toBeLessThan(1e-5);
    expect((one[0] ?? 0) - (one[3] ?? 0)).toBeGreaterThan(0.01);
    expect(engine.live().buffers).toBe(0);
    await engine.close();
  });
});

describe('an adapter before training', () => {
  it("begins as peft's do, has the only gradients, and needs values for its base", async () => {
    const { model, targets } = await readBase();
    const fresh = initialise(model, 1);
    for (const name of targets) {
      const [{ a, b }, [, columns = 0] = []] = [factorNames(name), model.parameters[name]?.shape];
      const sizes = fresh[a]?.map(Math.abs) ?? new Float32Array();
      expect(Math.max(...sizes)).toBeLessThanOrEqual(columns ** -0.5);
      expect(Math.max(...sizes)).toBeGreaterThan(0.8 * columns ** -0.5);
      expect(fresh[b]?.every((value) => value === 0)).toBe(true);
    }
    const { outputs } = gradientProgram(model, { batch: 1, length: 4, accumulate: true });
    const factors = targets.flatMap((name) => Object.values(factorNames(name)));
    expect(outputs.map(({ name }) => name).toSorted()).toEqual(
      ['loss', ...factors.map((name) => `gradient.${name}`)].toSorted(),
    );
    const options = { engine: referenceEngine(), model, batch: { size: 1, length: 4 } };
    await expect(createTrainer({ ...options, start: (key) => fresh[key.replace('embed', '')] })).rejects.toMatchObject({
      code: 'missing-parameter',
    });
  });

  it('changes matrices only', async () => {
    const { model } = await readBase();
    const refused = (name: string) => () => withLowRank(model, { [name]: { rank: 2, scale: 1 } });
    expect(refused('model.layers.0.conv.conv.weight')).toThrow(/changes matrices; .* is \[16, 1, 3\]/);
    expect(refused('model.layers.9.feed_forward.w1.weight')).toThrow(/no parameter of the model/);
  });
});
