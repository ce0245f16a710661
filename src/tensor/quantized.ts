// Weights of a few bits: how a matrix is cut into blocks and packed, and the tensor that stands for one in a program.
// Shapes: N rows, K columns in G = K / block blocks; 4-bit elements share a byte, the earlier one in the low half.
import { LfmError } from './error.ts';
import type { ArrayType } from './program.ts';
import type { Shape } from './shape.ts';
import { emitOne, Tensor } from './tracer.ts';

/**
 * How rows of K elements are stored: levels from 0 to 2^bits - 1, with a scale a block, and where `affine` a minimum a block.
 * Symmetric: w = scale * (level - 2^(bits - 1)), as ggml's Q4_0 and Q8_0. Affine: w = scale * level + minimum, as its Q4_1.
 */
export interface QuantizedForm {
  readonly bits: 4 | 8;
  /** Elements that share a scale: 32 or 128. */
  readonly block: number;
  readonly affine: boolean;
}

/**
 * What stands on the other side of a product. `float32`: as it is. `int8`: rounded, each row's block by its own scale (the
 * largest size is 127 steps), so that products are of integers and no row's rounding depends on another row.
 */
export type Activations = 'float32' | 'int8';

/** Types of a packed matrix's parts. */
export function quantizedTypes(
  [rows = 0, columns = 0]: readonly number[],
  { bits, block, affine }: QuantizedForm,
): Readonly<Record<string, ArrayType>> {
  const blocks = columns / block;
  if (!Number.isInteger(blocks) || block % 2 !== 0)
    throw new LfmError(
      'indivisible',
      `A matrix of [${rows}, ${columns}] cannot be packed in blocks of ${block}: its rows must be whole blocks of an even size.`,
    );
  const perBlock: ArrayType = { dtype: 'float32', shape: [rows, blocks] };
  return {
    packed: { dtype: 'uint8', shape: [rows, blocks, (block * bits) / 8] },
    scales: perBlock,
    ...(affine && { minimums: perBlock }),
  };
}

/**
 * A packed matrix [N, K] in a program, perhaps seen as [rows..., K]. It is the dequantised matrix to whoever reads it as a tensor;
 * `linear` and `embed` read the parts instead, and what nobody reads is not computed.
 */
export class QuantizedTensor extends Tensor {
  /** packed, scales and, where affine, minimums. */
  readonly parts: readonly Tensor[];
  readonly form: QuantizedForm;
  readonly activations: Activations;

  /** Errors: `shape-mismatch` for parts that do not make one matrix. */
  constructor(parts: readonly Tensor[], form: QuantizedForm, activations: Activations, shape?: Shape) {
    const matrix = emitOne('dequantize', parts, { bits: form.bits, block: form.block });
    const seen = shape ? emitOne('reshape', [matrix], { shape }) : matrix;
    super(seen.tracer, seen.value);
    this.parts = parts;
    this.form = form;
    this.activations = activations;
  }

  /** The same seen in another shape; undefined where that would cut its rows. */
  reshaped(shape: Shape): QuantizedTensor | undefined {
    if (shape.at(-1) !== this.dim(-1)) return undefined;
    return new QuantizedTensor(this.parts, this.form, this.activations, shape);
  }

  /** x [..., K] times the matrix: [..., rows...]. */
  times(x: Tensor): Tensor {
    const { bits, block } = this.form;
    const y = emitOne('matmul_quantized', [x, ...this.parts], { bits, block, activations: this.activations });
    if (this.rank === 2) return y;
    return emitOne('reshape', [y], { shape: [...x.shape.slice(0, -1), ...this.shape.slice(0, -1)] });
  }

  /** The rows of the matrix that `pick` takes of each part, dequantised. */
  rows(pick: (part: Tensor) => Tensor): Tensor {
    const { bits, block } = this.form;
    return emitOne('dequantize', this.parts.map(pick), { bits, block });
  }
}

/**
 * A matrix [N, K] for products with many rows, perhaps seen as [rows..., K]: each of its rows turned (see `turned` beside
 * `matmul_rows`) and rounded to int8 by one scale. The other side is treated alike at every product, which is then one of integers.
 */
export class RoundedTensor extends Tensor {
  /** levels int8 [K, N] and scales [N]. */
  readonly parts: readonly [levels: Tensor, scales: Tensor];

  constructor(parts: readonly [Tensor, Tensor], shape?: Shape) {
    const matrix = emitOne('rounded_matrix', parts);
    const seen = shape ? emitOne('reshape', [matrix], { shape }) : matrix;
    super(seen.tracer, seen.value);
    this.parts = parts;
  }

  /** The same seen in another shape; undefined where that would cut its rows. */
  reshaped(shape: Shape): RoundedTensor | undefined {
    return shape.at(-1) === this.dim(-1) ? new RoundedTensor(this.parts, shape) : undefined;
  }

  /** x [..., K] times the matrix: [..., rows...]. */
  times(x: Tensor): Tensor {
    const y = emitOne('matmul_rows', [x, ...this.parts]);
    if (this.rank === 2) return y;
    return emitOne('reshape', [y], { shape: [...x.shape.slice(0, -1), ...this.shape.slice(0, -1)] });
  }
}
