// Costs derived from the programs against counts written by hand, on LFM2-350M's shape.
import { describe, expect, it } from 'vitest';
import {
  decodeBytes,
  decodeFlops,
  memoryAt,
  parameterCounts,
  prefillFlops,
  speedOn,
  stateBytes,
} from './accounting.ts';
import { flopsOf } from '../tensor/definition.ts';
import { add, evaluateDim, exp, expanded, full, reshape, scan, trace } from '../tensor/index.ts';
import {
  attention,
  defineModel,
  flopsOfProgram,
  gradientProgram,
  layer,
  lossProgram,
  peakBytes,
  shortConv,
  stepProgram,
  swiglu,
  withQuantized,
} from './index.ts';

const mlp = swiglu({ intermediateSize: 4608 });
const conv = layer(shortConv(), mlp);
const attend = layer(attention({ heads: 16, keyValueHeads: 8 }), mlp);
const attending = [2, 5, 8, 10, 12, 14];
const model = defineModel({
  vocabSize: 65_536,
  hiddenSize: 1024,
  layers: Array.from({ length: 16 }, (_, i) => (attending.includes(i) ? attend : conv)),
});

const parameters = 354_483_968;
const rowBytes = 6 * 2 * 8 * 64 * 2;
/** Two rows for each convolution of three taps. (Hugging Face keeps three: 60 KiB.) */
const tailBytes = 10 * 2 * 1024 * 2;
/** Of each decoded token and earlier one: a product of queries with keys, one of weights with values. */
const attentionFlops = 6 * 16 * 64 * 4;

function within(actual: number, expected: number, share: number): void {
  expect(Math.abs(actual / expected - 1)).toBeLessThan(share);
}

describe('accounting', () => {
  it('counts parameters', () => {
    expect(parameterCounts(model)).toEqual({ total: parameters, active: parameters });
    const form = { bits: 4, block: 32, affine: true } as const;
    const packed = withQuantized(model, { 'model.layers.0.feed_forward.w1.weight': form }, 'float32');
    expect(parameterCounts(packed)).toEqual({ total: parameters, active: parameters });
    // Packed or not, a model does the same arithmetic and holds the same between its products; of the matrix a level a weight and
    // two floats a block are left.
    const [found, plain] = [packed, model].map((one) => memoryAt(one, 100));
    const [rows = 0, columns = 0] = model.parameters['model.layers.0.feed_forward.w1.weight']?.shape ?? [];
    expect(found).toMatchObject({ activations: plain?.activations, state: plain?.state });
    expect((plain?.weights ?? 0) - (found?.weights ?? 0)).toBe(rows * columns * (2 - 1 / 2 - (2 * 4) / 32));
    expect([decodeFlops(packed, 9), prefillFlops(packed, 9)]).toEqual([decodeFlops(model, 9), prefillFlops(model, 9)]);
    const untied = defineModel({ vocabSize: 100, hiddenSize: 8, layers: [], tieEmbeddings: false });
    expect(parameterCounts(untied)).toEqual({ total: 1608, active: 816 });
  });

  it('counts state at any length', () => {
    expect([rowBytes, tailBytes]).toEqual([12 * 1024, 40 * 1024]);
    for (const length of [1, 100, 32_768]) expect(stateBytes(model, length)).toBe(rowBytes * length + tailBytes);
    expect(stateBytes(model, 100, 'float32')).toBe(2 * (rowBytes * 100 + tailBytes));
    const windowed = (options: { window: number; sinks?: number }) =>
      defineModel({ vocabSize: 4, hiddenSize: 8, layers: [layer(attention({ heads: 2, ...options }), mlp)] });
    const bytesAt = (options: { window: number; sinks?: number }) =>
      [1, 600, 1000].map((length) => stateBytes(windowed(options), length));
    // Small windows are held whole, others as far as they are filled.
    expect(bytesAt({ window: 5, sinks: 2 })).toEqual([256, 256, 256]);
    expect(bytesAt({ window: 601 })).toEqual([32, 19_200, 19_264]);
  });

  it('counts the arithmetic of a decoded token', () => {
    for (const length of [1, 1024, 32_768])
      within(decodeFlops(model, length), 2 * parameters + attentionFlops * length, 0.03);
    const slope = decodeFlops(model, 2001) - decodeFlops(model, 1001);
    within(slope, attentionFlops * 1000, 0.05);
  });

  it('counts the arithmetic of a prefill, where the head works once', () => {
    const length = 512;
    const head = 2 * 65_536 * 1024;
    within(prefillFlops(model, length), length * (2 * parameters - head + attentionFlops * length) + head, 0.03);
  });

  it('counts the bytes that a decoded token moves', () => {
    const length = 1000;
    expect(decodeBytes(model, length)).toEqual({
      weights: 2 * parameters,
      stateRead: rowBytes * length + tailBytes,
      stateWritten: rowBytes + tailBytes,
    });
    expect(decodeBytes(model, length, 'float32').weights).toBe(4 * parameters);
  });

  it('finds a decode of convolutions alone equally costly at any length', () => {
    const flat = defineModel({
      vocabSize: 256,
      hiddenSize: 64,
      layers: [layer(shortConv(), swiglu({ intermediateSize: 96 }))],
    });
    expect(decodeFlops(flat, 2048)).toBe(decodeFlops(flat, 64));
    expect(decodeBytes(flat, 2048)).toEqual(decodeBytes(flat, 64));
  });

  it('finds the backward pass twice as costly as the forward, and recomputation as much as a forward more', () => {
    const tiny = defineModel({
      vocabSize: 256,
      hiddenSize: 64,
      layers: [layer(shortConv(), swiglu({ intermediateSize: 256 }))],
    });
    const [kept, recomputed] = [false, true].map((checkpoint) =>
      flopsOfProgram(gradientProgram(tiny, { batch: 1, length: 64, checkpoint })),
    );
    const count = Object.values(tiny.parameters).reduce(
      (total, { shape }) => total + shape.reduce((a, b) => a * b, 1),
      0,
    );
    within(kept ?? 0, 6 * count * 64, 0.1);
    // Neither the head nor a layer's last product is asked for again.
    within((recomputed ?? 0) - (kept ?? 0), 2 * (count - 256 * 64 - 64 * 256) * 64, 0.1);
  });

  it('counts what expanding every composite would count', () => {
    const small = defineModel({
      vocabSize: 256,
      hiddenSize: 64,
      layers: [
        layer(attention({ heads: 4, window: 9 }), mlp),
        layer(shortConv(), mlp),
        layer(attention({ heads: 4 }), mlp),
      ],
    });
    for (const program of [
      stepProgram(small, { batch: 1, length: 1, capacity: 40 }),
      stepProgram(small, { batch: 2, length: 24, capacity: 24 }),
      lossProgram(small, { batch: 1, length: 24 }),
    ]) {
      const { operations } = expanded(program, () => false);
      const each = operations.reduce((total, operation) => total + evaluateDim(flopsOf(operation), {}), 0);
      within(flopsOfProgram(program), each, 0.002);
    }
  });

  it('counts the turns of a loop', () => {
    const turns = trace('turns', { x: { dtype: 'float32', shape: [7, 5] } }, ({ x }) => {
      const { carries } = scan(7, [full('float32', [5], 0)], [x], (_, [sum], [row]) => ({
        carries: sum && row ? [add(sum, row)] : [],
        outputs: [],
      }));
      return { y: carries[0] ?? x };
    });
    expect(flopsOfProgram(turns)).toBe(7 * 5);
  });

  it('holds of a prefill the widest place of a layer, of a decoded token the logits', () => {
    const [vocabSize, hiddenSize, intermediateSize] = [5000, 64, 640];
    const one = defineModel({ vocabSize, hiddenSize, layers: [layer(shortConv(), swiglu({ intermediateSize }))] });
    const count = Object.values(one.parameters).reduce(
      (total, { shape }) => total + shape.reduce((a, b) => a * b, 1),
      0,
    );
    const long = memoryAt(one, 2048);
    // silu(gate), gate and up stand beside the stream and its normalised copy.
    const widest = 512 * (3 * intermediateSize + 2 * hiddenSize) * 2;
    expect(long.activations).toBeGreaterThanOrEqual(widest - 512 * hiddenSize * 2);
    expect(long.activations).toBeLessThan(1.1 * widest);
    expect(long).toMatchObject({ weights: 2 * count, state: stateBytes(one, 2048) });
    expect(long.total).toBe(long.weights + long.state + long.activations);
    expect(memoryAt(one, 100_000)).toEqual(long);
    within(memoryAt(one, 2048, { chunk: 2048 }).activations, 4 * long.activations, 0.05);
    // Rounded once to bfloat16 and once more to what is handed out.
    within(memoryAt(one, 1).activations, vocabSize * (2 + 4), 0.05);
  });

  it('holds no scores of attention, and each value only while it is read', () => {
    const shape = [8, 100];
    const chain = trace('chain', { x: { dtype: 'float32', shape } }, ({ x }) => ({
      y: exp(exp(exp(reshape(exp(x), [100, 8])))),
    }));
    expect(peakBytes(chain)).toBe(2 * 8 * 100 * 4);
    const growth = [1024, 2048].map((length) => memoryAt(model, length, { chunk: length }).activations);
    within((growth[1] ?? 0) / (growth[0] ?? 1), 2, 0.02);
  });

  it('bounds times by what the device can do', () => {
    const device = { flops: 1e12, bandwidth: 1e11, memory: 1e9 };
    const { weights, stateRead, stateWritten } = decodeBytes(model, 4096);
    const speed = speedOn(model, device, 4096);
    expect(speed).toEqual({
      token: (weights + stateRead + stateWritten) / 1e11,
      firstToken: prefillFlops(model, 4096) / 1e12,
      fits: true,
    });
    expect(speedOn(model, { ...device, memory: 5e8 }, 4096).fits).toBe(false);
    expect(speedOn(model, { ...device, flops: 1e9 }, 4096).token).toBe(decodeFlops(model, 4096) / 1e9);
  });
});
