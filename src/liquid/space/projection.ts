// Matrices over channels by their structure: dense, blocks along the diagonal, or the diagonal alone.
import type { Tensor } from '../../tensor/index.ts';
import { dotGeneral, linear, mul, reshape, transpose } from '../../tensor/index.ts';
import type { ParameterDeclaration } from '../parameter.ts';
import { gain, weight } from '../parameter.ts';
import type { ChannelMixing } from './parts.ts';
import { badLiv } from './parts.ts';

type Side = readonly [width: number, axis: string];

/** From `input` to `output` channels: [out, in], [blocks, out / blocks, in / blocks] or [out]. Errors: `bad-liv`. */
export function projection(
  structure: ChannelMixing,
  [out, outAxis]: Side,
  [into, inAxis]: Side,
  blocks: number,
  what: string,
): ParameterDeclaration {
  if (structure === 'dense') return weight([out, into], [outAxis, inAxis]);
  if (structure === 'diagonal') {
    if (out === into) return gain([out], [outAxis]);
    throw badLiv(`${what}: a diagonal matrix has as many rows as columns; found ${out} by ${into}`);
  }
  if (out % blocks === 0 && into % blocks === 0)
    return weight([blocks, out / blocks, into / blocks], ['blocks', outAxis, inAxis]);
  throw badLiv(`${what}: ${blocks} blocks do not divide a matrix of ${out} by ${into}`);
}

/** x [..., in] -> [..., out], by a matrix as `projection` declares it. */
export function project(x: Tensor, w: Tensor): Tensor {
  if (w.rank === 1) return mul(x, w);
  if (w.rank === 2) return linear(x, w);
  const [b = 1, t = 1] = x.shape;
  const [blocks, out, into] = w.shape.map(Number);
  if (!blocks || !out || !into) throw badLiv('a matrix of blocks without a size');
  const y = dotGeneral(reshape(x, [b, t, blocks, into]), w, {
    lhsBatching: [2],
    rhsBatching: [0],
    lhsContracting: [3],
    rhsContracting: [2],
    preferredType: x.dtype,
  });
  return reshape(transpose(y, [1, 2, 0, 3]), [b, t, blocks * out]);
}

/** How many channels such a matrix gives. */
export function outputsOf(w: Tensor): number {
  return Number(w.dim(0)) * (w.rank === 3 ? Number(w.dim(1)) : 1);
}
