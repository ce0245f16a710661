// Norms as values: which kind, and under what name their weights stand.
import type { Tensor } from '../tensor/index.ts';
import { add, layerNorm, rmsNorm } from '../tensor/index.ts';
import type { ParameterDeclaration, Tensors } from './parameter.ts';
import { bias, gain, take } from './parameter.ts';

/** `rms` has a gain, `rms_from_one` what a gain is more than 1, `layer` a gain and a bias. */
export interface Norm {
  readonly kind: 'rms' | 'rms_from_one' | 'layer';
  readonly name: string;
}

export function rms(name: string): Norm {
  return { kind: 'rms', name };
}

/** RMS norm whose weights are what its gain is more than 1 (Gemma, arXiv 2403.08295). */
export function rmsFromOne(name: string): Norm {
  return { kind: 'rms_from_one', name };
}

/** Layer normalisation (Ba et al. 2016, arXiv 1607.06450). */
export function layerNormed(name: string): Norm {
  return { kind: 'layer', name };
}

/** Its parameters, `prefix` before the norm's name. */
export function normParameters(norm: Norm, prefix: string, size: number): Record<string, ParameterDeclaration> {
  return {
    [`${prefix}${norm.name}.weight`]: (norm.kind === 'rms_from_one' ? bias : gain)([size], ['hidden']),
    ...(norm.kind === 'layer' && { [`${prefix}${norm.name}.bias`]: bias([size], ['hidden']) }),
  };
}

export function applyNorm(norm: Norm, prefix: string, p: Tensors, x: Tensor, eps: number): Tensor {
  const weight = take(p, `${prefix}${norm.name}.weight`);
  if (norm.kind === 'rms') return rmsNorm(x, weight, eps);
  return norm.kind === 'rms_from_one'
    ? rmsNorm(x, add(weight, 1), eps)
    : layerNorm(x, weight, take(p, `${prefix}${norm.name}.bias`), eps);
}
