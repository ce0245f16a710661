// Layers: lists of blocks, each one or more operators on a normalised copy of the stream, added back to it.
import { LfmError } from '../tensor/error.ts';
import type { Norm } from './norm.ts';
import { rms } from './norm.ts';
import type { Operator } from './operator.ts';
import { shared } from './operator.ts';

/** x + postNorm(Σ operator(norm(x))): the operators of a block see the same input, and their outputs are added up. */
export interface BlockDefinition {
  readonly operators: readonly Operator[];
  /** Absent: the stream as it is. */
  readonly norm?: Norm;
  /** Of the output, before it is added to the stream. */
  readonly postNorm?: Norm;
  /** Its output goes beside the stream: to what the next block sees, and no further (Zamba 2). */
  readonly aside?: true;
}

export interface Layer {
  readonly blocks: readonly BlockDefinition[];
}

/** x + mixer(norm(x)), then x + mlp(norm(x)). One value may stand at several depths; each gets weights of its own. */
export function layer(mixer: Operator, mlp: Operator): Layer {
  return stack(block(mixer, { norm: rms('operator_norm') }), block(mlp, { norm: rms('ffn_norm') }));
}

/** A layer of any blocks. Errors: `bad-layer` where the last one's output goes to a block that is not there. */
export function stack(...blocks: readonly BlockDefinition[]): Layer {
  if (blocks.at(-1)?.aside)
    throw new LfmError(
      'bad-layer',
      'The last block of a layer is aside: expected another one after it, which sees it.',
    );
  return { blocks };
}

export function block(
  operators: Operator | readonly Operator[],
  rest: Omit<BlockDefinition, 'operators'> = { norm: rms('operator_norm') },
): BlockDefinition {
  return { operators: 'featurize' in operators ? [operators] : operators, ...rest };
}

/**
 * The layer as a member of a depth group: wherever layers of one group stand, their operators have one set of parameters
 * (targeted weight sharing). Norms, which cost next to nothing, stay each depth's own.
 */
export function depthGroup(group: string, { blocks }: Layer): Layer {
  return {
    blocks: blocks.map((one, i) => ({
      ...one,
      operators: one.operators.map((operator, j) =>
        shared(operator, { ...operator.sharing, weights: { group: `${group}/${i}.${j}` } }),
      ),
    })),
  };
}

/** All operators of a layer, in order. */
export function operatorsOf({ blocks }: Layer): readonly Operator[] {
  return blocks.flatMap(({ operators }) => operators);
}
