// The device benchmark on the CPU plug-in: what it reports is there, and a mesh gives one device's losses.
import { describe, expect, it } from 'vitest';
import type { XlaOptions } from '../engines/xla/engine.node.ts';
import { cpuPlugin } from '../engines/xla/testing.node.ts';
import { lfm2 } from '../models/index.ts';
import { benchmarkDevices } from './benchmark-device.node.ts';
import { benchmarkShape } from './benchmark.node.ts';
import { peakFlops } from './peak-flops.ts';

const shape = {
  ...benchmarkShape,
  vocabSize: 64,
  hiddenSize: 16,
  intermediateSize: 32,
  layerTypes: ['conv', 'full_attention'] as const,
  numAttentionHeads: 4,
  numKeyValueHeads: 2,
};

function measured(engine: XlaOptions) {
  const options = { model: lfm2(shape), batch: 4, length: 16, steps: 2, dtype: 'float32', recompute: false } as const;
  const plugin = cpuPlugin?.path;
  return benchmarkDevices({
    ...options,
    engine: { cacheFolder: null, cpuDevices: 8, ...(plugin && { plugin }), ...engine },
  });
}

describe.skipIf(!cpuPlugin)('benchmarkDevices', () => {
  it('trains alike on one device and four, and counts what they exchange', async () => {
    const one = await measured({});
    const four = await measured({ mesh: { data: 2, fsdp: 2 } });
    expect(one.collectives).toEqual({});
    expect(four.collectives['all-gather']?.count).toBeGreaterThan(0);
    expect(four.devices).toBe(4);
    expect(four.plannedBytes).toBeLessThan(one.plannedBytes);
    expect(four.tokensPerSecondPerDevice).toBeCloseTo(four.tokensPerSecond / 4);
    expect(one.losses).toHaveLength(5);
    one.losses.forEach((loss, index) => expect(four.losses[index]).toBeCloseTo(loss, 4));
    expect(one.losses.at(-1)).toBeLessThan(one.losses[0] ?? 0);
    // 6 a parameter, and 6 T D for the one layer with attention.
    expect(one.flopsPerToken).toBe(6 * one.parameters + 6 * 16 * 16);
    expect(one.mfu).toBeUndefined();
  });
});

describe('peakFlops', () => {
  it.each([
    ['NVIDIA H100 80GB HBM3', 989e12],
    ['NVIDIA H100 PCIe', 756e12],
    ['NVIDIA H200', 989e12],
    ['cpu', undefined],
  ])('of %s is %s', (kind, peak) => expect(peakFlops(kind)).toBe(peak));
});
