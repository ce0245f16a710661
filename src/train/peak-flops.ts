// What devices could do at best, and what of it training needs: the two sides of the model FLOPs utilisation (MFU).
import type { Lfm2Config } from '../models/index.ts';

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
 * FLOPs that one token of a row of `length` asks for, forward and backward: six for each parameter, and of causal attention
 * half the pairs. What is recomputed does not count.
 */
export function trainingFlopsPerToken(parameters: number, config: Lfm2Config, length: number): number {
  const attentionLayers = config.layerTypes.filter((type) => type === 'full_attention').length;
  return 6 * parameters + 6 * attentionLayers * length * config.hiddenSize;
}
