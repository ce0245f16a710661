// What LIVs of one class may have in common: the sharing strategies of backbone genomes, by how the class mixes tokens.
import type { LivClass } from '../space/classes.ts';
import type { TokenMixing } from '../space/parts.ts';

/** A list of feature names for each strategy from 2; strategy 1 shares nothing. */
interface Strategies {
  /** Whose parameters are shared: featurizer sharing. */
  readonly featurizer: readonly (readonly string[])[];
  /** Which are themselves shared, with the state that they alone make: feature-group sharing. */
  readonly features: readonly (readonly string[])[];
}

// STAR leaves the strategies to each class; which number means what is ours.
const strategies: Readonly<Record<TokenMixing, Strategies>> = {
  'low rank': {
    featurizer: [['c', 'b', 'v'], ['b', 'v'], ['b'], ['v']],
    features: [['b', 'v'], ['b'], ['v']],
  },
  'semi-separable': {
    featurizer: [['c', 'b', 'v', 'decay'], ['c', 'b'], ['b', 'v', 'decay'], ['decay']],
    features: [['b', 'v', 'decay'], ['c', 'b'], ['b'], ['decay']],
  },
  'scaled Toeplitz': {
    featurizer: [
      ['c', 'b', 'v'],
      ['c', 'b'],
      ['b', 'v'],
    ],
    features: [['b', 'v'], ['c', 'b'], ['c']],
  },
  diagonal: { featurizer: [['c', 'v'], ['c']], features: [['c'], ['v']] },
};

export type SharingKind = keyof Strategies;

export function strategyCount({ parts }: LivClass, kind: SharingKind): number {
  return strategies[parts.tokenMixing][kind].length + 1;
}

/** Names of the features that a strategy is about; of a difference, those of both branches. */
export function sharedNames({ parts }: LivClass, kind: SharingKind, strategy: number): readonly string[] {
  const names = strategies[parts.tokenMixing][kind][strategy - 2] ?? [];
  return parts.differential
    ? ['first.', 'second.'].flatMap((branch) => names.map((name) => `${branch}${name}`))
    : names;
}

/** The strategy that shares just these; undefined where there is none. */
export function strategyOf(one: LivClass, kind: SharingKind, names: readonly string[]): number | undefined {
  const text = (list: readonly string[]) => list.toSorted().join();
  const numbers = Array.from({ length: strategyCount(one, kind) }, (_, index) => index + 1);
  return numbers.find((strategy) => text(sharedNames(one, kind, strategy)) === text(names));
}
