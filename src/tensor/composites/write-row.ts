// write_row: one row of a buffer anew, as a ring of past rows takes in a token's.
// Shapes: B batch, G groups, C rows, D width of a row.
import { defineComposite } from '../definition.ts';
import { LfmError } from '../error.ts';
import { eq, iota, reshape, select } from '../functions.ts';
import type { Tensor } from '../tracer.ts';
import { emit } from '../tracer.ts';

defineComposite<Readonly<Record<string, never>>>({
  kind: 'write_row',
  /** write_row(buffer [B, G, C, D], row [B, G, 1, D], place int32 [B], from 0 to C - 1) -> the buffer with that row there. */
  decompose: ([buffer, row, place]) => {
    if (!buffer || !row || !place) throw new LfmError('shape-mismatch', 'write_row is short of an operand.');
    const at = iota('int32', [1, 1, buffer.dim(2), 1], 2);
    return [select(eq(at, reshape(place, [place.dim(0), 1, 1, 1])), row, buffer)];
  },
});

/** The buffer with `row` in each batch row's own `place`, which must be one of its rows. */
export function writeRow(buffer: Tensor, row: Tensor, place: Tensor): Tensor {
  return emit('write_row', [buffer, row, place], {})[0] ?? buffer;
}
