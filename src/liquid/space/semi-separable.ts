// Semi-separable token mixing, T_ij = c_i a_i … a_(j+1) (1 - a_j) b_j: a recurrence that forgets by a rate made of its input, the
// input's share being what the state lost (a linear system held constant over a step). Shapes: B batch, T tokens, H heads of
// P channels that forget alike, G groups that share b and c, N numbers of state a channel.
import {
  add,
  cast,
  exp,
  expandDims,
  expm1,
  linear,
  linearRecurrence,
  mul,
  neg,
  reshape,
  softplus,
} from '../../tensor/index.ts';
import { set, take, weight } from '../parameter.ts';
import { decayRates, timeStepBiases } from '../rates.ts';
import { fixed } from '../state.ts';
import type { Mixer } from './mixer.ts';
import { groupsOf, headsOf, nonlinearityOf, requireAlike, requireSingle, toHeads } from './mixer.ts';
import type { LivOptions } from './parts.ts';

/**
 * Channel mixing is by what b and c are shared over: `diagonal`, all channels, each with a state of its own; `grouped`, those of
 * a head; `dense`, all, with one rate.
 */
export function semiSeparable(options: LivOptions, d: number): Mixer {
  const { c, b, v } = groupsOf(options, ['c', 'b', 'v'], []);
  const size = requireAlike('expansion', { c, b });
  const repeat = requireAlike('repeat', { c, b });
  const { channelMixing } = options;
  requireSingle(channelMixing === 'grouped' ? { v } : { c, b, v });
  const wanted = channelMixing === 'dense' ? { ...options, headDim: d * v.expansion } : options;
  const { heads, headDim } = headsOf(d, wanted, v.expansion, repeat);
  const groups = channelMixing === 'grouped' ? heads / repeat : 1;
  const activation = nonlinearityOf(options);
  const width = heads * headDim;
  return {
    groups: [
      { role: 'c', group: c, width: groups * size, blocks: groups, axis: 'stateSize' },
      { role: 'b', group: b, width: groups * size, blocks: groups, axis: 'stateSize' },
      { role: 'v', group: v, width, blocks: heads, axis: 'channels' },
    ],
    width,
    axis: 'channels',
    parameters: {
      'decay_proj.weight': weight([heads, d], ['stateHeads', 'hidden']),
      dt_bias: set(timeStepBiases(heads), ['stateHeads']),
      A_log: set(decayRates(heads), ['stateHeads']),
    },
    states: { memory: fixed([heads, size, headDim]) },
    prepare: (made, p, x) => {
      const rate = add(cast(linear(x, take(p, 'decay_proj.weight')), 'float32'), cast(take(p, 'dt_bias'), 'float32'));
      return {
        c: activation(toHeads(take(made, 'c'), size)),
        b: activation(toHeads(take(made, 'b'), size)),
        v: toHeads(take(made, 'v'), headDim),
        decay: neg(mul(softplus(rate), exp(cast(take(p, 'A_log'), 'float32')))),
      };
    },
    mix: (_p, features, { memory }, { lengths, segments }) => {
      const [c, v, decay] = [take(features, 'c'), take(features, 'v'), take(features, 'decay')];
      const lost = cast(neg(expm1(decay)), v.dtype);
      const { y, next } = linearRecurrence(c, take(features, 'b'), mul(v, expandDims(lost, 3)), {
        decay,
        state: memory,
        lengths,
        segments,
      });
      return [reshape(y, [v.dim(0), v.dim(1), width]), { memory: memory && next }];
    },
  };
}
