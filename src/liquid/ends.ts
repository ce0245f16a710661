// The two ends of a model, which may be replaced: an encoder makes hidden states of a program's inputs, a head scores classes.
import type { ArrayType, Dim, Tensor } from '../tensor/index.ts';
import { embed, LfmError } from '../tensor/index.ts';
import type { Sizes } from './operator.ts';
import type { ParameterDeclaration, Tensors } from './parameter.ts';
import { take, weight } from './parameter.ts';

export interface Encoder {
  readonly parameters: (sizes: Sizes) => Readonly<Record<string, ParameterDeclaration>>;
  /** What a program for B rows of T steps takes, by name; `time_steps`, float32 [B, T], is what operators see as their time. */
  readonly inputs: (batch: Dim, length: Dim) => Readonly<Record<string, ArrayType>>;
  /** Hidden states [B, T, D] in the parameters' element type. */
  readonly encode: (p: Tensors, inputs: Tensors) => Tensor;
}

/** What a head is trained on, where that is not the class of each position. */
export interface Objective {
  /** Type of the program's input `labels`, for B rows of T steps: [B, T, ...]. */
  readonly labels: (batch: Dim, length: Dim) => ArrayType;
  /** Weighted sum over positions: outputs [N, classes] in the model's element type, labels [N, ...], weights float32 [N]. */
  readonly loss: (outputs: Tensor, labels: Tensor, weights: Tensor) => Tensor;
}

export interface Head {
  /** How many classes it scores, or numbers it predicts. */
  readonly classes: number;
  /** Absent: the softmax cross entropy of its classes. */
  readonly objective?: Objective;
  readonly parameters: (sizes: Sizes) => Readonly<Record<string, ParameterDeclaration>>;
  /** The matrix [classes, D] whose product with a hidden state is the logits. */
  readonly weight: (p: Tensors) => Tensor;
}

const table = 'model.embed_tokens.weight';

/** A row of a table for each token id. Its program input is `tokens`, int32 [B, T]. */
export function tokenEmbedding({ vocabSize }: { vocabSize: number }): Encoder {
  return {
    parameters: ({ hiddenSize }) => ({ [table]: weight([vocabSize, hiddenSize], ['vocabulary', 'hidden']) }),
    inputs: (batch, length) => ({ tokens: { dtype: 'int32', shape: [batch, length] } }),
    encode: (p, inputs) => {
      if (!inputs.tokens)
        throw new LfmError(
          'missing-input',
          'A token embedding reads the input "tokens", int32 [B, T], which was not given.',
        );
      return embed(inputs.tokens, take(p, table));
    },
  };
}

/** Scores of `classes` classes from a matrix of its own; for a vocabulary, `lm_head`. */
export function classHead({ classes, name = 'lm_head' }: { classes: number; name?: string }): Head {
  return {
    classes,
    parameters: ({ hiddenSize }) => ({ [`${name}.weight`]: weight([classes, hiddenSize], ['vocabulary', 'hidden']) }),
    weight: (p) => take(p, `${name}.weight`),
  };
}

/** Scores of a vocabulary by the embedding's own table: nothing is stored for it. */
export function tiedHead({ vocabSize }: { vocabSize: number }): Head {
  return { classes: vocabSize, parameters: () => ({}), weight: (p) => take(p, table) };
}
