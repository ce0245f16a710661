// What a token mixing brings to an operator, and what all four need: groups in their places, heads, nonlinearities.
import type { Tensor } from '../../tensor/index.ts';
import {
  add,
  broadcastTo,
  divideDims,
  exp,
  expandDims,
  LfmError,
  maximum,
  minimum,
  multiplyDims,
  reshape,
  silu,
} from '../../tensor/index.ts';
import type { Context } from '../context.ts';
import type { Operator } from '../operator.ts';
import type { ParameterDeclaration, Tensors } from '../parameter.ts';
import type { StateDeclaration } from '../state.ts';
import type { PlacedGroup } from './featurizers.ts';
import { featurizerOf } from './featurizers.ts';
import type { FeatureGroup, LivOptions, Nonlinearity, Role } from './parts.ts';
import { badLiv, fittingSizes } from './parts.ts';

export interface Mixer {
  readonly groups: readonly PlacedGroup[];
  /** Channels of what it mixes. */
  readonly width: number;
  /** Axis name of these channels. */
  readonly axis: string;
  readonly parameters: Readonly<Record<string, ParameterDeclaration>>;
  readonly states: Readonly<Record<string, StateDeclaration>>;
  /** From the groups as made of the input, [B, T, width], to the features that it mixes. */
  readonly prepare: (groups: Tensors, p: Tensors, x: Tensor, context: Context) => Tensors;
  /** To [B, T, width], and its next states. */
  readonly mix: Operator['mix'];
}

/** Default width of a head. */
const HEAD = 64;

/** Of each nonlinearity but softmax, which is of T itself. */
export const nonlinearities: Readonly<Record<Exclude<Nonlinearity, 'softmax'>, (x: Tensor) => Tensor>> = {
  none: (x) => x,
  relu: (x) => maximum(x, 0),
  silu,
  'elu + 1': (x) => add(maximum(x, 0), exp(minimum(x, 0))),
};

/** Errors: `bad-liv` for softmax, which only attention has. */
export function nonlinearityOf({ nonlinearity = 'none', tokenMixing }: LivOptions): (x: Tensor) => Tensor {
  if (nonlinearity !== 'softmax') return nonlinearities[nonlinearity];
  throw badLiv(`nonlinearity: softmax is of low rank token mixing; found it with ${tokenMixing}`);
}

/** The featurizer's groups, all of `needed` and at most `allowed` beside them. Errors: `bad-liv`. */
export function groupsOf<N extends Role, A extends Role>(
  options: LivOptions,
  needed: readonly N[],
  allowed: readonly A[],
): Readonly<Record<N, FeatureGroup> & Partial<Record<A, FeatureGroup>>> {
  const found = featurizerOf(options);
  const places: readonly Role[] = [...needed, ...allowed];
  const lacking = needed.find((role) => !found[role]);
  const extra = Object.keys(found).find((role) => !places.some((place) => place === role));
  if (lacking === undefined && extra === undefined)
    return found as Readonly<Record<N, FeatureGroup> & Partial<Record<A, FeatureGroup>>>;
  const what = lacking === undefined ? `has a group ${extra}` : `has no group ${lacking}`;
  const optional = allowed.length > 0 ? `, and may have ${allowed.join(' and ')}` : '';
  throw badLiv(`featurizer: it ${what}; ${options.tokenMixing} token mixing needs ${needed.join(', ')}${optional}`);
}

/** Errors: `bad-liv` where groups that meet differ in `key`. */
export function requireAlike(
  key: 'expansion' | 'repeat',
  groups: Readonly<Record<string, FeatureGroup | undefined>>,
): number {
  const [first, ...others] = Object.entries(groups).flatMap(([role, group]) =>
    group ? [{ role, value: group[key] }] : [],
  );
  const other = others.find(({ value }) => value !== first?.value);
  if (first && other)
    throw badLiv(
      `featurizer: ${first.role} and ${other.role} meet, so their ${key} must be one; found ${first.value} and ${other.value}`,
    );
  return first?.value ?? 1;
}

/** Errors: `bad-liv` where one of the groups is repeated. */
export function requireSingle(groups: Readonly<Record<string, FeatureGroup | undefined>>): void {
  for (const [role, group] of Object.entries(groups))
    if (group && group.repeat !== 1)
      throw badLiv(`featurizer.${role}.repeat: expected 1 in this token mixing; found ${group.repeat}`);
}

/** Heads of `headDim` in the hidden size times `expansion`, that groups of `repeat` divide. Errors: `indivisible`, with sizes that would do. */
export function headsOf(
  d: number,
  { headDim = HEAD }: LivOptions,
  expansion = 1,
  repeat = 1,
): { heads: number; headDim: number } {
  const heads = (d * expansion) / headDim;
  if (Number.isInteger(heads) && heads % repeat === 0) return { heads, headDim };
  const step = (headDim * repeat) / greatestDivisor(headDim * repeat, expansion);
  const by = repeat === 1 ? '' : `, ${repeat} of them to a key`;
  throw new LfmError(
    'indivisible',
    `liv: a hidden size of ${d} cannot be cut into heads of ${headDim}${by}; ${fittingSizes(d, step)}.`,
  );
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}

/** Channels of `width` in runs of `repeat` that have one feature. Errors: `indivisible`. */
export function repeatedWidth(width: number, repeat: number, what: string): number {
  if (width % repeat === 0) return width / repeat;
  throw new LfmError(
    'indivisible',
    `liv: ${what}: ${width} channels cannot have one feature for ${repeat} of them; ${fittingSizes(width, repeat)}.`,
  );
}

/** x with each index along `axis` `times` times, next to each other. */
export function repeatEach(x: Tensor, axis: number, times: number): Tensor {
  if (times === 1) return x;
  const wide = x.shape.toSpliced(axis + 1, 0, times);
  return reshape(
    broadcastTo(expandDims(x, axis + 1), wide),
    x.shape.map((dim, at) => (at === axis ? multiplyDims(dim, times) : dim)),
  );
}

/** The last axis as heads of `width`. */
export function toHeads(x: Tensor, width: number): Tensor {
  return reshape(x, [x.dim(0), x.dim(1), divideDims(x.dim(2), width), width]);
}
