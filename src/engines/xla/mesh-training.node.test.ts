// One training step divided over 2 to 8 devices of the CPU plug-in gives one device's loss and weights.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gradientProgram, initialise } from '../../liquid/index.ts';
import { fromHuggingFace, lfm2 } from '../../models/lfm2.ts';
import { add, countOf, full, Random, scatterInto, trace } from '../../tensor/index.ts';
import { adamWDefaults, updateProgram, updateScalars } from '../../train/adamw.ts';
import type { Buffer } from '../engine.ts';
import { arrayOf } from './device-array.node.ts';
import type { XlaEngine } from './engine.node.ts';
import { xlaEngine } from './engine.node.ts';
import { liveHandles } from './handles.ts';
import type { HloCollective } from './hlo.ts';
import type { Mesh } from './mesh.ts';
import type { ShardingPlan } from './sharding.ts';
import { planSharding } from './sharding.ts';
import { cpuPlugin } from './testing.node.ts';

const model = lfm2(
  fromHuggingFace({
    vocab_size: 32,
    hidden_size: 16,
    intermediate_size: 32,
    block_auto_adjust_ff_dim: false,
    num_hidden_layers: 2,
    layer_types: ['conv', 'full_attention'],
    num_attention_heads: 4,
    num_key_value_heads: 2,
    initializer_range: 0.1,
  }),
);
const [size, length] = [8, 8];
const types = Object.fromEntries(
  Object.entries(model.parameters).map(([name, { shape, decay }]) => [
    name,
    { dtype: 'float32' as const, shape, decay },
  ]),
);
const tableBytes = 4 * 32 * 16;
const random = new Random(3);
const tokens = Int32Array.from({ length: size * length }, () => Math.floor(random.uniform() * 32));
/** Sums in other orders: of the loss and the norm, of gradients, and of what AdamW, which divides by their size, makes of them. */
const noise = { scalar: 2e-6, moment: 1e-7, parameter: 1e-5 };

interface Step {
  readonly loss: number;
  readonly norm: number;
  /** Parameters and first moments: the moments tell of gradients without AdamW's division. */
  readonly state: Record<string, Float32Array>;
  /** Bytes of all parameters on each device, and of one of the moments. */
  readonly bytes: { readonly parameters: readonly number[]; readonly first: readonly number[] };
  readonly collectives: Collectives;
}

/** By kind: how many, and their results' bytes. */
type Collectives = Partial<Record<HloCollective['kind'], { readonly count: number; readonly bytes: number }>>;

function bytesOf(arrays: object): number {
  return Object.values(arrays).reduce(
    (sum: number, { shape }: { shape: readonly number[] }) => sum + 4 * countOf(shape),
    0,
  );
}

function open(mesh?: Mesh): Promise<XlaEngine> {
  const plugin = cpuPlugin?.path;
  return xlaEngine({ cacheFolder: null, cpuDevices: 8, ...(plugin && { plugin }), ...(mesh && { mesh }) });
}

async function stepped(engine: XlaEngine, plan?: ShardingPlan): Promise<Step> {
  const shardings = plan?.shardings ?? {};
  const gradients = await engine.compile(gradientProgram(model, { batch: size, length }), { shardings });
  const update = await engine.compile(updateProgram(types), { shardings });
  const state: Record<string, Buffer> = {};
  for (const [name, values] of Object.entries(initialise(model, 1))) {
    const { shape = [] } = types[name] ?? {};
    state[name] = await engine.upload('float32', shape, values, shardings[name]);
    for (const key of [`first.${name}`, `second.${name}`])
      state[key] = await engine.zeros('float32', shape, shardings[key]);
  }
  const share = new Float32Array(tokens.length).fill(1 / tokens.length);
  const inputs = {
    tokens: await engine.upload('int32', [size, length], tokens, shardings['tokens']),
    labels: await engine.upload('int32', [size, length], tokens.toReversed(), shardings['labels']),
    weights: await engine.upload('float32', [size, length], share, shardings['weights']),
  };
  const parameters = Object.fromEntries(
    Object.keys(types).flatMap((name) => (state[name] ? [[name, state[name]]] : [])),
  );
  const { loss, ...found } = await gradients.run({ ...parameters, ...inputs });
  const scalars: Record<string, Buffer> = {};
  for (const [name, value] of Object.entries(updateScalars(adamWDefaults, 1, 0.01)))
    scalars[name] = await engine.upload('float32', [], Float32Array.of(value));
  const { norm, ...next } = await update.run({ ...state, ...found, ...scalars });

  const read = async (buffer: Buffer | undefined): Promise<Float32Array> => {
    const values = buffer && (await engine.download(buffer));
    if (!(values instanceof Float32Array)) throw new Error('no such output');
    return values;
  };
  const values: Record<string, Float32Array> = {};
  for (const key of Object.keys(types).flatMap((name) => [name, `first.${name}`])) values[key] = await read(next[key]);
  const onDevices = (prefix: string): number[] =>
    Object.keys(types).reduce<number[]>((sums, name) => {
      const { memories } = arrayOf(next[`${prefix}${name}`], 'bytes');
      return memories.map((memory, device) => (sums[device] ?? 0) + memory.bytesOnDevice());
    }, []);
  const collectives: Collectives = {};
  for (const { kind, resultBytes } of [gradients, update].flatMap((executable) => executable.collectives().flat())) {
    const { count, bytes } = collectives[kind] ?? { count: 0, bytes: 0 };
    collectives[kind] = { count: count + 1, bytes: bytes + resultBytes };
  }
  const step = {
    loss: (await read(loss))[0] ?? NaN,
    norm: (await read(norm))[0] ?? NaN,
    state: values,
    bytes: { parameters: onDevices(''), first: onDevices('first.') },
    collectives,
  };
  // What was donated has gone: only what is left is ours to give back.
  for (const buffer of [loss, norm, ...[next, found, scalars, inputs].flatMap((some) => Object.values(some))])
    buffer?.dispose();
  expect(engine.live()).toEqual({ buffers: 0, bytes: 0 });
  return step;
}

function worst(a: Float32Array, b: Float32Array | undefined): number {
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b?.[i] ?? NaN))), 0);
}

describe.skipIf(!cpuPlugin)('training steps over a mesh [xla]', () => {
  let single: Step;
  beforeAll(async () => {
    const engine = await open();
    single = await stepped(engine);
    await engine.close();
  });
  afterAll(() => expect(liveHandles()).toEqual({ clients: 0, executables: 0, buffers: 0, events: 0 }));

  const meshes: readonly (readonly [Mesh, (found: Collectives, plan: ShardingPlan) => void])[] = [
    // Gradients are summed once; the table that is both embedding and head has two.
    [{ data: 8 }, (found) => expect(found).toEqual({ 'all-reduce': { count: 1, bytes: bytesOf(types) + tableBytes } })],
    // What is divided is brought together once, for the forward and the backward pass.
    [
      { fsdp: 8 },
      ({ 'all-reduce': sums, ...others }, plan) => {
        const divided = plan.parameters.filter(({ sharding }) => sharding.axes.flat().length > 0);
        expect(others).toEqual({ 'all-gather': { count: divided.length, bytes: bytesOf(divided) } });
        expect(sums?.bytes).toBeLessThan(bytesOf(types) + 2 * tableBytes);
      },
    ],
    // Activations are summed, parameters stay where they are.
    [
      { tensor: 4 },
      (found) => {
        expect(found['all-reduce']?.count).toBeGreaterThan(0);
        expect(found['all-gather']?.bytes ?? 0).toBeLessThan(bytesOf(types));
      },
    ],
    // Keys, values and what a convolution sees of the tokens before come from the other part of the row.
    [
      { sequence: 2 },
      (found) => {
        expect(found['all-reduce']?.bytes).toBeGreaterThanOrEqual(bytesOf(types));
        expect(found['collective-permute']?.count).toBeGreaterThan(0);
      },
    ],
    [{ data: 2, tensor: 2 }, (found) => expect(found['all-reduce']?.count).toBeGreaterThan(1)],
    [{ data: 2, fsdp: 2, tensor: 2 }, (found) => expect(Object.keys(found)).toContain('all-gather')],
  ];
  it.each(meshes)('%j gives one device’s step', async (mesh, check) => {
    const engine = await open(mesh);
    const plan = planSharding(mesh, model.parameters, { batch: { size, length } });
    const step = await stepped(engine, plan);
    await engine.close();
    expect(Math.abs(step.loss - single.loss)).toBeLessThan(noise.scalar);
    expect(Math.abs(step.norm - single.norm)).toBeLessThan(noise.scalar);
    for (const [key, values] of Object.entries(single.state))
      expect(worst(values, step.state[key]), key).toBeLessThan(
        key.startsWith('first.') ? noise.moment : noise.parameter,
      );
    const devices = Object.values(mesh).reduce((product, axis) => product * axis, 1);
    const planned = new Array<number>(devices).fill(plan.parameterBytes);
    expect(step.bytes).toEqual({ parameters: planned, first: planned });
    check(step.collectives, plan);
  });

  it('uploads, zeroes and downloads each device’s part', async () => {
    const mesh = { data: 2, tensor: 4 };
    const engine = await open(mesh);
    const whole = Float32Array.from({ length: 4 * 16 * 2 }, (_, i) => i);
    const shardings = [
      [['tensor'], ['data'], []],
      [[], ['tensor', 'data'], []],
      [[], [], []],
      [['data'], ['tensor'], []],
    ];
    for (const axes of shardings) {
      const buffer = await engine.upload('float32', [4, 16, 2], whole, { axes });
      expect(buffer.shape).toEqual([4, 16, 2]);
      expect(await engine.download(buffer)).toEqual(whole);
      buffer.dispose();
    }
    const nibbles = Uint8Array.from({ length: 16 }, (_, i) => i * 16 + ((i * 7) % 16));
    const packed = await engine.upload('int4', [4, 8], nibbles, { axes: [['data'], ['tensor']] });
    expect(await engine.download(packed)).toEqual(nibbles);
    // More than is sent from the host: made where it lies.
    const big = await engine.zeros('float32', [8, 1 << 16], { axes: [['data'], ['tensor']] });
    const parts = arrayOf(big, 'zeros').memories.map((memory) => memory.shape.join());
    expect(parts).toEqual(new Array<string>(8).fill(`4,${1 << 14}`));
    expect((await engine.download(big)).every((value) => Number(value) === 0)).toBe(true);
    for (const buffer of [packed, big]) buffer.dispose();
    await engine.close();
  });

  it.each([
    [{ data: 4 }, { axes: [[], []] }],
    [{ fsdp: 4 }, { axes: [[], ['fsdp']] }],
  ])('brings rows together for a table’s gradient, which is more, over %j', async (mesh, table) => {
    const axis = Object.keys(mesh);
    const rows = { axes: [axis, []] };
    const types = { at: { dtype: 'int32', shape: [8, 4] }, dy: { dtype: 'float32', shape: [8, 4, 16] } } as const;
    const program = trace('table', types, ({ at, dy }) => ({
      sums: scatterInto(full('float32', [64, 16], 0), at, dy, { axis: 0, batchDims: 0, reducer: 'add' }),
    }));
    const engine = await open(mesh);
    const shardings = { at: rows, dy: { axes: [axis, [], []] }, sums: table };
    const executable = await engine.compile(program, { shardings });
    const at = Int32Array.from({ length: 32 }, (_, i) => (i * i) % 7);
    const dy = Float32Array.from({ length: 512 }, (_, i) => i % 11);
    const expected = new Float32Array(64 * 16);
    dy.forEach((value, i) => {
      const to = (at[Math.floor(i / 16)] ?? 0) * 16 + (i % 16);
      expected[to] = (expected[to] ?? 0) + value;
    });
    const inputs = {
      at: await engine.upload('int32', [8, 4], at, shardings.at),
      dy: await engine.upload('float32', [8, 4, 16], dy, shardings.dy),
    };
    const { sums } = await executable.run(inputs);
    expect(sums && (await engine.download(sums))).toEqual(expected);
    const kinds = executable.collectives().flat();
    expect(kinds.map(({ kind }) => kind)).not.toContain('all-reduce');
    expect(Math.max(...kinds.map(({ resultBytes }) => resultBytes))).toBeLessThanOrEqual(4 * 512);
    for (const buffer of [inputs.at, inputs.dy, sums]) buffer?.dispose();
    await engine.close();
  });

  it('refuses what does not fit the mesh', async () => {
    const engine = await open({ data: 2 });
    const type = { dtype: 'float32', shape: [4] } as const;
    const program = trace('twice', { x: type }, ({ x }) => ({ y: add(x, x) }));
    const divided = { axes: [['data']] };
    const executable = await engine.compile(program, { shardings: { x: divided, unknown: divided } });
    const x = await engine.upload('float32', [4], new Float32Array(4));
    await expect(executable.run({ x })).rejects.toThrowError(/lies on the mesh as copies.*\[data\]/);
    for (const axes of [[['tensor']], [], [['data', 'data']]])
      await expect(engine.compile(program, { shardings: { x: { axes } } })).rejects.toMatchObject({
        code: 'bad-sharding',
      });
    await expect(engine.upload('float32', [3], new Float32Array(3), divided)).rejects.toMatchObject({
      code: 'bad-sharding',
    });
    x.dispose();
    await engine.close();
    await expect(open({ data: 16 })).rejects.toMatchObject({ code: 'bad-mesh' });
  });

  it('of one device is no mesh', async () => {
    const engine = await open({ data: 1 });
    expect(engine.mesh).toBeUndefined();
    const x = await engine.upload('float32', [3], Float32Array.of(1, 2, 3), { axes: [['fsdp']] });
    expect(await engine.download(x)).toEqual(Float32Array.of(1, 2, 3));
    x.dispose();
    await engine.close();
  });
});
