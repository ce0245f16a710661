// The two ends of a model, which may be replaced: an encoder makes hidden states of a program's inputs, a head scores classes.
import type { ArrayType, Dim, Tensor } from '../tensor/index.ts';
import { add, concatenate, embed, expandDims, full, LfmError, linear, mul, tanh } from '../tensor/index.ts';
import type { Sizes } from './operator.ts';
import type { ParameterDeclaration, Tensors } from './parameter.ts';
import { bias, take, weight } from './parameter.ts';

export interface Encoder {
  readonly parameters: (sizes: Sizes) => Readonly<Record<string, ParameterDeclaration>>;
  /** What a program for B rows of T steps takes, by name; `time_steps`, float32 [B, T], is what operators see as their time. */
  readonly inputs: (batch: Dim, length: Dim) => Readonly<Record<string, ArrayType>>;
  /** What a token's row is multiplied by; absent: nothing, or no rows. */
  readonly scale?: number;
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
  /** What is added to the product, [classes]; absent: nothing. */
  readonly bias?: (p: Tensors) => Tensor;
  /** Logits l become c tanh(l / c) (Gemma 2, arXiv 2408.00118). Absent: they stay. */
  readonly softCap?: number;
}

const table = 'model.embed_tokens.weight';

/** Scores [..., classes] of hidden states [..., D]. */
export function logitsOf(head: Head, p: Tensors, hidden: Tensor): Tensor {
  const product = linear(hidden, head.weight(p));
  const scores = head.bias ? add(product, head.bias(p)) : product;
  return head.softCap === undefined ? scores : mul(tanh(mul(scores, 1 / head.softCap)), head.softCap);
}

/**
 * The head as one product, for a loss that never holds all logits: hidden states [N, D] and matrix, where there is a bias
 * with a column of ones and the bias as one more.
 */
export function asProduct(head: Head, p: Tensors, hidden: Tensor): readonly [Tensor, Tensor] {
  if (!head.bias) return [hidden, head.weight(p)];
  const ones = full(hidden.dtype, [hidden.dim(0), 1], 1);
  return [concatenate([hidden, ones], 1), concatenate([head.weight(p), expandDims(head.bias(p), 1)], 1)];
}

/** A row of a table for each token id, times `scale`. Its program input is `tokens`, int32 [B, T]. */
export function tokenEmbedding({ vocabSize, scale = 1 }: { vocabSize: number; scale?: number }): Encoder {
  return {
    ...(scale !== 1 && { scale }),
    parameters: ({ hiddenSize }) => ({ [table]: weight([vocabSize, hiddenSize], ['vocabulary', 'hidden']) }),
    inputs: (batch, length) => ({ tokens: { dtype: 'int32', shape: [batch, length] } }),
    encode: (p, inputs) => {
      if (!inputs.tokens)
        throw new LfmError(
          'missing-input',
          'A token embedding reads the input "tokens", int32 [B, T], which was not given.',
        );
      const rows = embed(inputs.tokens, take(p, table));
      return scale === 1 ? rows : mul(rows, scale);
    },
  };
}

interface HeadOptions {
  readonly softCap?: number;
}

/** Scores of `classes` classes from a matrix of its own; for a vocabulary, `lm_head`. */
export function classHead({
  classes,
  name = 'lm_head',
  bias: biased = false,
  ...options
}: { classes: number; name?: string; bias?: boolean } & HeadOptions): Head {
  return {
    classes,
    parameters: ({ hiddenSize }) => ({
      [`${name}.weight`]: weight([classes, hiddenSize], ['vocabulary', 'hidden']),
      ...(biased && { [`${name}.bias`]: bias([classes], ['vocabulary']) }),
    }),
    weight: (p) => take(p, `${name}.weight`),
    ...(biased && { bias: (p) => take(p, `${name}.bias`) }),
    ...options,
  };
}

/** Scores of a vocabulary by the embedding's own table: nothing is stored for it. */
export function tiedHead({ vocabSize, ...options }: { vocabSize: number } & HeadOptions): Head {
  return { classes: vocabSize, parameters: () => ({}), weight: (p) => take(p, table), ...options };
}
