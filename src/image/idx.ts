// The IDX format of MNIST: unsigned bytes of any number of dimensions (http://yann.lecun.com/exdb/mnist/).
import { LfmError } from '../tensor/error.ts';

export interface IdxArray {
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** Reads an uncompressed IDX file. Errors: `bad-file` for one of another kind, or of another length than its header says. */
export function parseIdx(bytes: Uint8Array): IdxArray {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const rank = bytes[3] ?? 0;
  const start = 4 + 4 * rank;
  if (bytes.length < start || view.getUint16(0) !== 0 || bytes[2] !== 0x08 || rank === 0)
    throw new LfmError('bad-file', 'Expected an IDX file of unsigned bytes, which begins with 00 00 08 and its rank.');
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis));
  const count = shape.reduce((product, size) => product * size, 1);
  if (bytes.length !== start + count)
    throw new LfmError('bad-file', `An IDX file of [${shape}] has ${start + count} bytes; found ${bytes.length}.`);
  return { shape, data: bytes.subarray(start) };
}
