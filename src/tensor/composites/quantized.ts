// dequantize and matmul_quantized: weights of 4 or 8 bits, unpacked in the graph where an engine has no kernel for them.
// Shapes as in ../quantized.ts: packed uint8 [..., G, block * bits / 8], scales and minimums [..., G].
import { defineComposite } from '../definition.ts';
import { LfmError } from '../error.ts';
import {
  abs,
  add,
  and,
  cast,
  concatenate,
  div,
  dotGeneral,
  expandDims,
  gt,
  linear,
  max,
  mul,
  reshape,
  roundEven,
  select,
  shiftRight,
  sub,
  sum,
} from '../functions.ts';
import type { Activations } from '../quantized.ts';
import { multiplyDims, sameShape } from '../shape.ts';
import type { Tensor } from '../tracer.ts';
import { emitOne } from '../tracer.ts';

type Form = { readonly bits: number; readonly block: number };

function shown(parts: readonly Tensor[]): string {
  return parts.map(({ dtype, shape }) => `${dtype}[${shape.join(', ')}]`).join(' and ') || 'nothing';
}

/** Errors: `shape-mismatch`. */
function partsOf(
  kind: string,
  parts: readonly Tensor[],
  { bits, block }: Form,
): { packed: Tensor; scales: Tensor; minimums: Tensor | undefined } {
  const [packed, scales, minimums] = parts;
  const bytes = (block * bits) / 8;
  const fits =
    packed?.dtype === 'uint8' &&
    packed.dim(-1) === bytes &&
    [scales, minimums].every((part) => !part || sameShape(part.shape, packed.shape.slice(0, -1)));
  if (packed && scales && fits) return { packed, scales, minimums };
  throw new LfmError(
    'shape-mismatch',
    `${kind} of ${bits} bits in blocks of ${block} expects uint8 [..., G, ${bytes}] with scales (and minimums) of [..., G]; found ${shown(parts)}.`,
  );
}

/** scale * (level - centre), [..., G, block] in the scales' type. */
function scaledLevels(packed: Tensor, scales: Tensor, { bits, block }: Form, centre: number): Tensor {
  const halves = () => [and(packed, 15), shiftRight(packed, 4)].map((half) => expandDims(half, -1));
  const unpacked = bits === 8 ? packed : reshape(concatenate(halves(), -1), [...scales.shape, block]);
  const levels = cast(unpacked, scales.dtype);
  return mul(centre === 0 ? levels : sub(levels, centre), expandDims(scales, -1));
}

/** [..., G, block] as [..., G * block]. */
function joined(blocks: Tensor): Tensor {
  return reshape(blocks, [...blocks.shape.slice(0, -2), multiplyDims(blocks.dim(-2), blocks.dim(-1))]);
}

const symmetricCentre = ({ bits }: Form): number => 2 ** (bits - 1);

/** dequantize(packed, scales, minimums?) -> [..., G * block], in the scales' type. */
defineComposite<Form>({
  kind: 'dequantize',
  decompose: (operands, form) => {
    const { packed, scales, minimums } = partsOf('dequantize', operands, form);
    if (!minimums) return [joined(scaledLevels(packed, scales, form, symmetricCentre(form)))];
    return [joined(add(scaledLevels(packed, scales, form, 0), expandDims(minimums, -1)))];
  },
});

/** Blocks [..., G, block], each at whole multiples of its largest size / 127. */
function rounded(blocks: Tensor): Tensor {
  const scale = div(max(abs(blocks), [-1]), 127);
  const inverse = div(1, select(gt(scale, 0), scale, 1));
  return mul(roundEven(mul(blocks, expandDims(inverse, -1))), expandDims(scale, -1));
}

/**
 * matmul_quantized(x [..., K], packed [N, G, bytes], scales [N, G], minimums? [N, G]) -> x wᵀ [..., N]. Minimums meet the sums
 * of x over blocks, which are never rounded. The weights are frozen: the gradient is x's alone, and rounded activations pass
 * it on as if they were not.
 */
defineComposite<Form & { readonly activations: Activations }>({
  kind: 'matmul_quantized',
  decompose: ([x, ...parts], { activations, ...form }) => {
    const { packed, scales, minimums } = partsOf('matmul_quantized', parts, form);
    const columns = multiplyDims(scales.dim(-1), form.block);
    if (!x || scales.rank !== 2 || x.dim(-1) !== columns)
      throw new LfmError(
        'shape-mismatch',
        `matmul_quantized expects x [..., ${columns}] and a matrix; found ${shown(x ? [x, ...parts] : parts)}.`,
      );
    const blocks = reshape(x, [...x.shape.slice(0, -1), scales.dim(-1), form.block]);
    const left = activations === 'int8' ? joined(rounded(blocks)) : x;
    const right = joined(scaledLevels(packed, scales, form, minimums ? 0 : symmetricCentre(form)));
    const product = linear(left, cast(right, x.dtype));
    return [minimums ? add(product, linear(sum(blocks, [-1]), cast(minimums, x.dtype))) : product];
  },
  gradient: ({ operands: [x, ...parts], attributes: { bits, block }, cotangents: [dy], needed }) => {
    if (needed.slice(1).includes(true))
      throw new LfmError('frozen-weight', 'Packed weights are frozen: dequantise them to train them.');
    if (!x || !dy) return [];
    const w = cast(emitOne('dequantize', parts, { bits, block }), x.dtype);
    return [
      dotGeneral(dy, w, {
        lhsBatching: [],
        rhsBatching: [],
        lhsContracting: [dy.rank - 1],
        rhsContracting: [0],
        preferredType: x.dtype,
      }),
    ];
  },
});
