// Diagonal token mixing, T_ii = σ(c_i): a token by itself, its channels mixed by what stands around the gate.
import { mul } from '../../tensor/index.ts';
import { take } from '../parameter.ts';
import type { Mixer } from './mixer.ts';
import { groupsOf, headsOf, nonlinearityOf, repeatEach, repeatedWidth, requireAlike } from './mixer.ts';
import type { LivOptions } from './parts.ts';

/** Widths are rounded up to a multiple of this. */
const ROUND = 8;

/** σ(c) v, or σ(v) where there is no group c. */
export function memoryless(options: LivOptions, d: number): Mixer {
  const { v, c } = groupsOf(options, ['v'], ['c']);
  const expansion = requireAlike('expansion', { v, c });
  // Gated or not, it has as many parameters (Shazeer 2020, arXiv 2002.05202).
  const share = c ? 2 / 3 : 1;
  const free = expansion === 1 ? d : Math.ceil((d * expansion * share) / ROUND) * ROUND;
  const { intermediateSize: width = free } = options;
  const activation = nonlinearityOf(options);
  const blocks = options.channelMixing === 'grouped' ? headsOf(d, options).heads : 1;
  const placed = Object.entries({ c, v }).flatMap(([role, group]) =>
    group
      ? [
          {
            role: role as 'c' | 'v',
            group,
            width: repeatedWidth(width, group.repeat, `featurizer.${role}.repeat`),
            blocks: group.channelMixing === 'grouped' ? headsOf(d, options).heads : blocks,
            axis: 'intermediate',
          },
        ]
      : [],
  );
  return {
    groups: placed,
    width,
    axis: 'intermediate',
    parameters: {},
    states: {},
    prepare: (made) =>
      Object.fromEntries(placed.map(({ role, group }) => [role, repeatEach(take(made, role), 2, group.repeat)])),
    mix: (_p, features) => {
      const v = take(features, 'v');
      return [features['c'] ? mul(activation(features['c']), v) : activation(v), {}];
    },
  };
}
