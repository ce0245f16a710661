// A matrix with a low-rank change that is never added to it (LoRA: Hu et al. 2021, arXiv 2106.09685).
import { Tensor } from './tracer.ts';

/**
 * W + scale * B A, made by `adapted`: the sum to whoever reads it as a tensor, while `linear` multiplies by the parts, W packed or not.
 * Shapes: W [rows..., K], A [R, K], B [rows..., R].
 */
export class AdaptedTensor extends Tensor {
  readonly base: Tensor;
  readonly a: Tensor;
  readonly b: Tensor;
  readonly scale: number;

  constructor(sum: Tensor, base: Tensor, a: Tensor, b: Tensor, scale: number) {
    super(sum.tracer, sum.value);
    this.base = base;
    this.a = a;
    this.b = b;
    this.scale = scale;
  }
}
