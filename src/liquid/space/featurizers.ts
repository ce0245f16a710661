// The featurizers of STAR by name (arXiv 2411.17800, featurizer genomes), and how a feature group is made of the input.
// Shapes: B batch, T tokens, D hidden size, W width of a group.
import type { Tensor } from '../../tensor/index.ts';
import { causalConv } from '../../tensor/index.ts';
import type { Context } from '../context.ts';
import type { StateTensors } from '../operator.ts';
import type { ParameterDeclaration, Tensors } from '../parameter.ts';
import { take, weight } from '../parameter.ts';
import type { StateDeclaration } from '../state.ts';
import { fixed } from '../state.ts';
import type { FeatureGroup, Featurizer, LivOptions, Role } from './parts.ts';
import { badLiv } from './parts.ts';
import { project, projection } from './projection.ts';

/** Taps of the short convolution that a group may have before its projection. */
const SHORT = 3;

const dense: FeatureGroup = { tokenMixing: 'diagonal', channelMixing: 'dense', expansion: 1, repeat: 1 };
const short: FeatureGroup = { ...dense, tokenMixing: 'scaled Toeplitz' };
const repeated = (repeat: number): FeatureGroup => ({ ...dense, repeat });
const expanded = (expansion: number): FeatureGroup => ({ ...dense, expansion });
const filter = (tokenMixing: 'scaled Toeplitz' | 'semi-separable', expansion: number): FeatureGroup => ({
  tokenMixing,
  channelMixing: 'diagonal',
  expansion,
  repeat: 1,
});

/** In the order of STAR's numbers, from 1. */
export const featurizers: Readonly<Record<string, Featurizer>> = {
  dense: { c: dense, b: dense, v: dense },
  'short Toeplitz': { c: short, b: short, v: short },
  'repeat 4': { c: dense, b: repeated(4), v: repeated(4) },
  'repeat 2': { c: dense, b: repeated(2), v: repeated(2) },
  'expansion 16': { c: expanded(16), b: expanded(16), v: dense },
  'expansion 2': { c: expanded(2), b: expanded(2), v: dense },
  'explicit kernel 3': { c: dense, b: dense, v: dense, kernel: filter('scaled Toeplitz', 3) },
  'implicit long kernel': { c: dense, b: dense, v: dense, kernel: filter('semi-separable', 8) },
  gated: { c: expanded(4), v: expanded(4) },
};

/** Its groups. Errors: `bad-liv` with the names there are. */
export function featurizerOf({ featurizer }: Pick<LivOptions, 'featurizer'>): Featurizer {
  if (typeof featurizer !== 'string') return featurizer;
  const found = Object.hasOwn(featurizers, featurizer) ? featurizers[featurizer] : undefined;
  if (found) return found;
  const names = Object.keys(featurizers).join(', ');
  throw badLiv(`featurizer: expected one of ${names}, or an object of groups; found ${JSON.stringify(featurizer)}`);
}

/** A group in its place: what it is called, how wide it is, and between how many heads it is divided. */
export interface PlacedGroup {
  readonly role: Role;
  readonly group: FeatureGroup;
  readonly width: number;
  /** Blocks of a `grouped` projection. */
  readonly blocks: number;
  /** Axis name of its width. */
  readonly axis: string;
}

export function groupParameters(
  { role, group, width, blocks, axis }: PlacedGroup,
  d: number,
): Record<string, ParameterDeclaration> {
  if (group.tokenMixing !== 'diagonal' && group.tokenMixing !== 'scaled Toeplitz')
    throw badLiv(
      `featurizer.${role}.tokenMixing: expected diagonal, or scaled Toeplitz for a short convolution; found ${group.tokenMixing}`,
    );
  return {
    ...(group.tokenMixing === 'scaled Toeplitz' && {
      [`${role}_conv.weight`]: weight([d, 1, SHORT], ['hidden', 'one', 'tap'], { std: (3 * SHORT) ** -0.5 }),
    }),
    [`${role}_proj.weight`]: projection(
      group.channelMixing,
      [width, axis],
      [d, 'hidden'],
      blocks,
      `featurizer.${role}`,
    ),
  };
}

export function groupStates({ role, group }: PlacedGroup, d: number): Record<string, StateDeclaration> {
  return group.tokenMixing === 'scaled Toeplitz' ? { [`${role}_tail`]: fixed([SHORT - 1, d]) } : {};
}

/** [B, T, W] of x [B, T, D], and the tail to keep. */
export function makeGroup(
  { role, group }: PlacedGroup,
  p: Tensors,
  x_BTD: Tensor,
  state: StateTensors,
  { lengths, segments }: Context,
): { feature: Tensor; state: StateTensors } {
  const w = take(p, `${role}_proj.weight`);
  if (group.tokenMixing !== 'scaled Toeplitz') return { feature: project(x_BTD, w), state: {} };
  const key = `${role}_tail`;
  const { y, next } = causalConv(x_BTD, take(p, `${role}_conv.weight`), { tail: state[key], lengths, segments });
  return { feature: project(y, w), state: { [key]: state[key] && next } };
}
