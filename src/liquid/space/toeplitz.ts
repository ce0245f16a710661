// Scaled Toeplitz token mixing, T_ij = c_i K_(i-j) b_j: a causal convolution between two gates, its filter short and explicit or
// long and implicit. Shapes: B batch, T tokens, E channels, K taps, M waves.
import type { Tensor } from '../../tensor/index.ts';
import {
  add,
  broadcastTo,
  cast,
  causalConv,
  concatenate,
  constant,
  cos,
  exp,
  expandDims,
  linearRecurrence,
  mul,
  neg,
  reshape,
  sin,
  sliceAxis,
  sum,
} from '../../tensor/index.ts';
import type { Context } from '../context.ts';
import type { StateTensors } from '../operator.ts';
import type { ParameterDeclaration, Tensors } from '../parameter.ts';
import { set, take, weight } from '../parameter.ts';
import { fixed } from '../state.ts';
import { featurizers } from './featurizers.ts';
import type { Mixer } from './mixer.ts';
import { groupsOf, headsOf, nonlinearityOf, repeatEach, repeatedWidth, requireAlike } from './mixer.ts';
import type { FeatureGroup, LivOptions } from './parts.ts';
import { badLiv } from './parts.ts';
import { project, projection } from './projection.ts';

/** A filter over time: from [B, T, E] to [B, T, E]. */
interface Filter extends Pick<Mixer, 'parameters' | 'states'> {
  readonly apply: (p: Tensors, u: Tensor, state: StateTensors, context: Context) => readonly [Tensor, StateTensors];
}

/** Channel mixing is the filter's: a tap or wave has a factor for each channel, blocks, or a matrix. The gates may be left out. */
export function scaledToeplitz(options: LivOptions, d: number): Mixer {
  const { v, c, b, kernel = featurizers['explicit kernel 3']?.kernel } = groupsOf(options, ['v'], ['c', 'b', 'kernel']);
  const width = d * requireAlike('expansion', { v, c, b });
  const { channelMixing } = options;
  const activation = nonlinearityOf(options);
  const blocks = channelMixing === 'grouped' ? headsOf(width, options).heads : 1;
  const filter = filterOf(kernel, options, width, blocks);
  const placed = Object.entries({ c, b, v }).flatMap(([role, group]) =>
    group
      ? [
          {
            role: role as 'c' | 'b' | 'v',
            group,
            width: repeatedWidth(width, group.repeat, `featurizer.${role}.repeat`),
            blocks: group.channelMixing === 'grouped' ? headsOf(d, options).heads : 1,
            axis: 'channels',
          },
        ]
      : [],
  );
  return {
    groups: placed,
    width,
    axis: 'channels',
    parameters: filter.parameters,
    states: filter.states,
    prepare: (made) =>
      Object.fromEntries(
        placed.map(({ role, group }) => {
          const x = repeatEach(take(made, role), 2, group.repeat);
          return [role, role === 'v' ? x : activation(x)];
        }),
      ),
    mix: (p, features, state, context) => {
      const carried = take(features, 'v');
      const u = features['b'] ? mul(features['b'], carried) : carried;
      const [y, next] = filter.apply(p, u, state, context);
      return [features['c'] ? mul(features['c'], y) : y, next];
    },
  };
}

function filterOf(
  kernel: FeatureGroup | undefined,
  { channelMixing }: LivOptions,
  width: number,
  blocks: number,
): Filter {
  if (!kernel) throw badLiv('featurizer: there is no kernel');
  if (kernel.channelMixing !== 'diagonal')
    throw badLiv(
      `featurizer.kernel.channelMixing: a filter is made of no channels, so expected diagonal; found ${kernel.channelMixing}. How it mixes them is the operator's channelMixing`,
    );
  const isDiagonal = channelMixing === 'diagonal';
  if (!isDiagonal && kernel.repeat !== 1)
    throw badLiv(`featurizer.kernel.repeat: expected 1 where the filter mixes channels; found ${kernel.repeat}`);
  const of = isDiagonal ? repeatedWidth(width, kernel.repeat, 'featurizer.kernel.repeat') : width;
  const matrices = (count: number): Record<string, ParameterDeclaration> =>
    Object.fromEntries(
      Array.from({ length: count }, (_, index) => [
        `kernel.${index}.weight`,
        projection(channelMixing, [width, 'channels'], [width, 'hidden'], blocks, 'channelMixing'),
      ]),
    );
  if (kernel.tokenMixing === 'scaled Toeplitz')
    return explicitFilter(kernel, width, of, isDiagonal ? undefined : matrices);
  if (kernel.tokenMixing === 'semi-separable')
    return implicitFilter(kernel, width, of, isDiagonal ? undefined : matrices);
  throw badLiv(
    `featurizer.kernel.tokenMixing: expected scaled Toeplitz (explicit) or semi-separable (implicit); found ${kernel.tokenMixing}`,
  );
}

type Matrices = ((count: number) => Record<string, ParameterDeclaration>) | undefined;

/** `expansion` taps, the last of them the present. */
function explicitFilter(
  { expansion: taps, repeat }: FeatureGroup,
  width: number,
  of: number,
  matrices: Matrices,
): Filter {
  // A matrix a tap is a parameter and a product for each: far fewer will do.
  const most = matrices ? 64 : 4096;
  if (taps < 2 || taps > most) throw badLiv(`featurizer.kernel.expansion: expected 2 to ${most} taps; found ${taps}`);
  return {
    parameters: matrices
      ? matrices(taps)
      : { 'kernel.weight': weight([of, 1, taps], ['channels', 'one', 'tap'], { std: (3 * taps) ** -0.5 }) },
    states: { tail: fixed([taps - 1, width]) },
    apply: (p, u, { tail }, { lengths, segments }) => {
      const given = { tail, lengths, segments };
      if (!matrices) {
        const { y, next } = causalConv(u, repeatEach(take(p, 'kernel.weight'), 0, repeat), given);
        return [y, { tail: tail && next }];
      }
      // Each tap is a matrix of what stood so many tokens back.
      const shifted = Array.from({ length: taps }, (_, tap) => {
        const only = Array.from({ length: width * taps }, (__, at) => Number(at % taps === tap));
        const { y, next } = causalConv(
          u,
          cast(constant('float32', [width, 1, taps], Float32Array.from(only)), u.dtype),
          given,
        );
        return { y: project(y, take(p, `kernel.${tap}.weight`)), next };
      });
      return [shifted.map(({ y }) => y).reduce((a, b) => add(a, b)), { tail: tail && shifted[0]?.next }];
    },
  };
}

/** Tokens after which the fastest and the slowest wave have faded to 1/e. */
const FADING = [4, 4096] as const;

/**
 * K_t = Σ_m r_m exp(-a_m t) cos(ω_m t), of any length from a few numbers: the modal form of a long filter (Massaroli et al.
 * 2023, arXiv 2310.18780), which decodes with a state of fixed size. The cosine of a difference of two positions is the
 * product of what each of them is turned to.
 */
function implicitFilter(
  { expansion: waves, repeat }: FeatureGroup,
  width: number,
  of: number,
  matrices: Matrices,
): Filter {
  if (waves > 256) throw badLiv(`featurizer.kernel.expansion: expected at most 256 waves; found ${waves}`);
  const along = (index: number) => (waves > 1 ? index / (waves - 1) : 0);
  const [fast, slow] = FADING;
  const rates = Array.from({ length: waves }, (_, index) => -Math.log(fast * (slow / fast) ** along(index)));
  return {
    parameters: {
      'kernel.rate': set(rates, ['waves']),
      'kernel.frequency': set(rates.map(Math.exp), ['waves']),
      ...(matrices
        ? matrices(waves)
        : { 'kernel.weight': weight([waves, of], ['waves', 'channels'], { std: (3 * waves) ** -0.5 }) }),
    },
    states: { memory: fixed([waves, 2, width]) },
    apply: (p, u, { memory }, { positions, lengths, segments }) => {
      const [b, t] = [u.dim(0), u.dim(1)];
      const wide = (name: string) => cast(take(p, name), 'float32');
      const phase = mul(expandDims(cast(positions, 'float32'), 2), wide('kernel.frequency'));
      const turned = cast(concatenate([expandDims(cos(phase), 3), expandDims(sin(phase), 3)], 3), u.dtype);
      const decay = broadcastTo(neg(exp(wide('kernel.rate'))), [b, t, waves]);
      const carried = broadcastTo(expandDims(u, 2), [b, t, waves, width]);
      const { y, next } = linearRecurrence(turned, turned, carried, { decay, state: memory, lengths, segments });
      const wave = (index: number): Tensor => reshape(sliceAxis(y, 2, index, index + 1), [b, t, width]);
      const out = matrices
        ? Array.from({ length: waves }, (_, m) => project(wave(m), take(p, `kernel.${m}.weight`))).reduce((x, z) =>
            add(x, z),
          )
        : sum(mul(y, repeatEach(take(p, 'kernel.weight'), 1, repeat)), [2]);
      return [out, { memory: memory && next }];
    },
  };
}
