// What devices could do at best, and what of it training needs: the two sides of the model FLOPs utilisation (MFU).
import type { Model } from '../liquid/index.ts';
import { parameterCounts } from '../liquid/index.ts';

/** Dense bf16 products a second, from the vendors' data sheets; the first that fits a device's name counts. */
const peaks: readonly (readonly [RegExp, number])[] = [
  [/\bH100 PCIe/, 756e12],
  [/\bH100 NVL/, 835e12],
  [/\bH[12]00\b/, 989e12],
  [/\bB200\b/, 2250e12],
  [/\bA100\b/, 312e12],
  [/\bL40S\b/, 362e12],
  [/\bL4\b/, 121e12],
];

/** Undefined for devices that are not in the table. */
export function peakFlops(deviceKind: string): number | undefined {
  return peaks.find(([name]) => name.test(deviceKind))?.[1];
}

/**
 * FLOPs that one token of a row of `length` asks for, forward and backward: six for each parameter that it is given to, and of causal attention
 * half the pairs, of each layer as wide as its `q_proj`. What is recomputed does not count.
 */
export function trainingFlopsPerToken(model: Model, length: number): number {
  const widths = Object.entries(model.parameters).map(([name, { shape }]) =>
    name.endsWith('q_proj.weight') ? (shape[0] ?? 0) : 0,
  );
  return 6 * parameterCounts(model).active + 6 * length * widths.reduce((sum, width) => sum + width, 0);
}
