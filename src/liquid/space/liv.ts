// liv: any operator of the design space, put together from its parts (Thomas et al. 2024, arXiv 2411.17800).
import { sub } from '../../tensor/index.ts';
import type { Operator, StateTensors } from '../operator.ts';
import { operator } from '../operator.ts';
import { take } from '../parameter.ts';
import { labelOf } from './classes.ts';
import { featurizerOf, groupParameters, groupStates, makeGroup } from './featurizers.ts';
import { lowRank } from './low-rank.ts';
import { memoryless } from './memoryless.ts';
import type { Mixer } from './mixer.ts';
import { headsOf } from './mixer.ts';
import type { LivOptions, TokenMixing } from './parts.ts';
import { badLiv, checkedOptions } from './parts.ts';
import { outputsOf, project, projection } from './projection.ts';
import { semiSeparable } from './semi-separable.ts';
import { scaledToeplitz } from './toeplitz.ts';

const mixers: Readonly<Record<TokenMixing, (options: LivOptions, d: number) => Mixer>> = {
  diagonal: memoryless,
  'low rank': lowRank,
  'scaled Toeplitz': scaledToeplitz,
  'semi-separable': semiSeparable,
};

/** What `operator` takes, with names that are known only when the options are. */
type Body = Pick<Operator, 'parameters' | 'state' | 'featurize' | 'mix'>;

function single(options: LivOptions): Body {
  const { tokenMixing, channelMixing, nonlinearity } = options;
  if (options.window !== undefined && nonlinearity !== 'softmax')
    throw badLiv('window: only attention, low rank with softmax, can see a window');
  if (options.intermediateSize !== undefined && tokenMixing !== 'diagonal')
    throw badLiv('intermediateSize: only diagonal token mixing has a width of its own');
  if (options.theta !== undefined && nonlinearity !== 'softmax')
    throw badLiv('theta: only attention has rotary positions');
  const mixerAt = (d: number) => mixers[tokenMixing](options, d);
  // Of operators that mix tokens the way back to the stream is a matrix; elsewhere it is the channel mixing itself.
  const structure = tokenMixing === 'diagonal' ? channelMixing : 'dense';
  return {
    parameters: ({ hiddenSize: d }) => {
      const { groups, parameters, width, axis } = mixerAt(d);
      const blocks = structure === 'grouped' ? headsOf(d, options).heads : 1;
      return {
        ...Object.assign({}, ...groups.map((group) => groupParameters(group, d))),
        ...parameters,
        'out_proj.weight': projection(structure, [d, 'hidden'], [width, axis], blocks, 'channelMixing'),
      };
    },
    state: ({ hiddenSize: d }) => {
      const { groups, states } = mixerAt(d);
      return { ...states, ...Object.assign({}, ...groups.map((group) => groupStates(group, d))) };
    },
    featurize: (p, x, state, context) => {
      const { groups, prepare } = mixerAt(Number(x.dim(2)));
      const made = groups.map((group) => ({ role: group.role, ...makeGroup(group, p, x, state, context) }));
      const features = Object.fromEntries(made.map(({ role, feature }) => [role, feature]));
      const tails: StateTensors = Object.assign({}, ...made.map((one) => one.state));
      return [prepare(features, p, x, context), { ...state, ...tails }];
    },
    mix: (p, features, state, context) => {
      const out = take(p, 'out_proj.weight');
      const [y, next] = mixerAt(outputsOf(out)).mix(p, features, state, context);
      return [project(y, out), { ...state, ...next }];
    },
  };
}

/** The two branches of a difference, as what they declare is told apart. */
const branches = ['first.', 'second.'] as const;

function under<T>(prefix: string, values: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [`${prefix}${key}`, value]));
}

function within<T>(prefix: string, values: Readonly<Record<string, T>>): Record<string, T> {
  const found = Object.entries(values).filter(([key]) => key.startsWith(prefix));
  return Object.fromEntries(found.map(([key, value]) => [key.slice(prefix.length), value]));
}

/** `first` less `second`: one operator twice, with weights, features and states of their own. */
function difference(one: Body): Body {
  const both = <T>(values: Readonly<Record<string, T>>): Record<string, T> =>
    Object.assign({}, ...branches.map((branch) => under(branch, values)));
  return {
    parameters: (sizes) => both(one.parameters(sizes)),
    state: (sizes) => both(one.state(sizes)),
    featurize: (p, x, state, context) => {
      const made = branches.map((branch) => one.featurize(within(branch, p), x, within(branch, state), context));
      const joined = <T>(of: (index: number) => Readonly<Record<string, T>>): Record<string, T> =>
        Object.assign({}, ...branches.map((branch, index) => under(branch, of(index))));
      return [joined((index) => made[index]?.[0] ?? {}), joined((index) => made[index]?.[1] ?? {})];
    },
    mix: (p, features, state, context) => {
      const [first, second] = branches.map((branch) =>
        one.mix(within(branch, p), within(branch, features), within(branch, state), context),
      );
      if (!first || !second) throw badLiv('a difference needs two branches');
      return [sub(first[0], second[0]), { ...under('first.', first[1]), ...under('second.', second[1]) }];
    },
  };
}

/**
 * The operator that the parts make: y = out(T(x) v), T by token mixing, channel mixing, nonlinearity and sparsity, from features
 * c, b, v that the featurizer makes of x. Errors: `bad-liv`, naming the option; `indivisible`, with sizes that would do.
 */
export const liv: ((options: LivOptions) => Operator) & { readonly operatorName: string } = operator(
  'liv',
  (given: LivOptions) => {
    const options = checkedOptions(given);
    featurizerOf(options);
    const body = single(options);
    return { scope: 'liv', label: labelOf(options), ...(options.differential ? difference(body) : body) };
  },
);
