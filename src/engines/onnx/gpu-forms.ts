// Packed weights as a GPU's kernels read them. Shapes: a weight is [N, K], packed in G blocks a row.
import type { Value } from '../../tensor/index.ts';
import type { Lowering } from './lowering.ts';
import { blockSums } from './packed-forms.ts';
import type { Packed } from './wasm-layouts.ts';

/**
 * matmul_quantized as com.microsoft.MatMulNBits with float32 activations. The levels are a copy: the stored ones stay in the memory
 * of the processor, which looks embeddings up in them. An affine matrix has the zero point 0, and its minimums meet the sums of
 * x over blocks in a product of their own.
 */
export function packedProduct(
  lowering: Lowering,
  y: Value,
  x: Value,
  { packed, scales, minimums }: Packed,
  bits: number,
): void {
  const [rows = 1, blocks = 1, bytes = 1] = packed.shape.map(Number);
  const block = (bytes * 8) / bits;
  const levels = lowering.derive(`${lowering.name(packed)} for products`, {
    dtype: 'uint8',
    dims: [rows, blocks, bytes],
    from: [packed],
    fill: (into, given = into) => into.set(given),
  });
  const inputs = [lowering.name(x), levels, lowering.name(scales)];
  if (minimums) inputs.push(lowering.zeros('uint8', [rows, Math.ceil((blocks * bits) / 8)]));
  const spec = {
    domain: 'com.microsoft',
    attributes: {
      K: { int: blocks * block },
      N: { int: rows },
      bits: { int: bits },
      block_size: { int: block },
    },
  };
  if (!minimums) return lowering.define(y, 'MatMulNBits', inputs, spec);
  const turned = lowering.derive(`${lowering.name(minimums)} turned`, {
    dtype: 'float32',
    dims: [blocks, rows],
    from: [minimums],
    fill: (into, given = into) => {
      const [read, write] = [new Float32Array(given.slice().buffer), new Float32Array(into.buffer, into.byteOffset)];
      for (let n = 0; n < rows; n++)
        for (let g = 0; g < blocks; g++) write[g * rows + n] = read[n * blocks + g] as number;
    },
  });
  const least = lowering.node('MatMul', [blockSums(lowering, x, blocks, block), turned]);
  lowering.define(y, 'Add', [lowering.node('MatMulNBits', inputs, spec), least]);
}
