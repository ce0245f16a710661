// The trainer over a mesh of the CPU plug-in's devices: one device's losses and weights, and what a batch must fit.
import { describe, expect, it } from 'vitest';
import type { Engine } from '../engines/engine.ts';
import { onnxEngine } from '../engines/onnx/engine.node.ts';
import { arrayOf } from '../engines/xla/device-array.node.ts';
import { xlaEngine } from '../engines/xla/engine.node.ts';
import type { Mesh } from '../engines/xla/mesh.ts';
import { cpuPlugin } from '../engines/xla/testing.node.ts';
import { attention, defineModel, initialise, layer, moe, shortConv, swiglu } from '../liquid/index.ts';
import { Random } from '../tensor/index.ts';
import { createTrainer } from './trainer.ts';

const vocabSize = 32;
const feedForward = () => swiglu({ intermediateSize: 32 });
const model = defineModel({
  vocabSize,
  hiddenSize: 16,
  layers: [layer(shortConv(), feedForward()), layer(attention({ heads: 4, keyValueHeads: 2 }), feedForward())],
});
/** LFM-40B's form, small: a mixture of experts in every layer. */
const routed = () => moe({ experts: 8, activeExperts: 2, intermediateSize: 8, routing: 'sigmoid', expertBias: true });
const mixture = defineModel({
  vocabSize,
  hiddenSize: 16,
  layers: [layer(shortConv(), routed()), layer(attention({ heads: 4, keyValueHeads: 2 }), routed())],
});
const [rows, length, steps] = [8, 8, 3];
const random = new Random(5);
const tokens = Int32Array.from({ length: rows * (length + 1) }, () => Math.floor(random.uniform() * vocabSize));

function open(mesh?: Mesh): Promise<Engine> {
  const plugin = cpuPlugin?.path;
  return xlaEngine({ cacheFolder: null, cpuDevices: 8, ...(plugin && { plugin }), ...(mesh && { mesh }) });
}

async function trained(engine: Engine, accumulate = 1, of = model) {
  const weights = initialise(of, 3);
  const batch = { size: rows / accumulate, length, accumulate };
  const trainer = await createTrainer({ engine, model: of, batch, start: (key) => weights[key] });
  const divided = Object.values(trainer.parameters).map((buffer) =>
    engine.mesh ? arrayOf(buffer, 'a weight').memories[0]?.shape.join() : '',
  );
  const results = [];
  for (let step = 1; step <= steps; step++) results.push(await (await trainer.step(tokens, step, 0.01)).result);
  const values: Record<string, Float32Array> = {};
  for (const name of Object.keys(of.parameters)) values[name] = await trainer.read(name);
  trainer.dispose();
  expect(engine.live().buffers).toBe(0);
  await engine.close();
  return { results, values, divided };
}

describe.skipIf(!cpuPlugin)('the trainer on a mesh', () => {
  const meshes: readonly [Mesh, number][] = [
    [{ data: 4 }, 1],
    [{ data: 2, fsdp: 4 }, 1],
    [{ fsdp: 2, tensor: 2, sequence: 2 }, 1],
    [{ data: 2, fsdp: 2 }, 2],
  ];
  it.each(meshes)('%j with %i passes a step gives the losses and weights of the engine onnx', async (mesh, passes) => {
    const single = await trained(await onnxEngine({ threads: 1 }));
    const found = await trained(await open(mesh), passes);
    for (const [index, { loss, norm }] of single.results.entries()) {
      expect(found.results[index]?.loss).toBeCloseTo(loss, 4);
      expect(found.results[index]?.norm).toBeCloseTo(norm, 4);
    }
    if (mesh['fsdp']) {
      const whole = Object.values(model.parameters).map(({ shape }) => shape.join());
      // What has no hidden size stays whole: the norms of heads.
      const cut = found.divided.filter((shape, index) => shape !== whole[index]);
      expect(cut.length).toBeGreaterThan(whole.length - 4);
    }
    for (const [name, values] of Object.entries(single.values)) {
      const worst = values.reduce(
        (most, value, at) => Math.max(most, Math.abs(value - (found.values[name]?.[at] ?? NaN))),
        0,
      );
      expect(worst, name).toBeLessThan(1e-4);
    }
  });

  it.each([{ expert: 4 }, { data: 2, expert: 4 }, { expert: 2, tensor: 2 }, { fsdp: 2, sequence: 2, expert: 2 }])(
    '%j divides experts over devices',
    async (mesh) => {
      const single = await trained(await onnxEngine({ threads: 1 }), 1, mixture);
      const found = await trained(await open(mesh), 1, mixture);
      for (const [index, { loss, norm }] of single.results.entries()) {
        expect(found.results[index]?.loss).toBeCloseTo(loss, 4);
        expect(found.results[index]?.norm).toBeCloseTo(norm, 4);
      }
      const at = Object.keys(mixture.parameters).indexOf('model.layers.0.feed_forward.experts.w1.weight');
      const sizes = [8 / mesh.expert, 'tensor' in mesh ? 4 : 8, 'fsdp' in mesh ? 8 : 16];
      expect(found.divided[at]).toBe(sizes.join());
      for (const [name, values] of Object.entries(single.values)) {
        const worst = values.reduce(
          (most, value, i) => Math.max(most, Math.abs(value - (found.values[name]?.[i] ?? NaN))),
          0,
        );
        expect(worst, name).toBeLessThan(1e-4);
      }
    },
  );

  it('says which batches the devices could share', async () => {
    const engine = await open({ data: 2, fsdp: 2, sequence: 2 });
    const of = (size: number, tokensOfRow: number) =>
      createTrainer({ engine, model, batch: { size, length: tokensOfRow }, start: () => undefined });
    await expect(of(6, 8)).rejects.toThrowError(/batch\.size: 6 rows.*4 devices \(data=2 x fsdp=2\); 4 or 8 would/);
    await expect(of(8, 7)).rejects.toThrowError(/batch\.length: 7 tokens.*sequence=2.*; 6 or 8 would/);
    await expect(of(2, 8)).rejects.toThrowError(/; 4 would/);
    expect(engine.live().buffers).toBe(0);
    await engine.close();
  });
});
