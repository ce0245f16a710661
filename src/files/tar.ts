// Plain USTAR archives in memory: the files of an archive by name.
import { LfmError } from '../tensor/error.ts';

const BLOCK = 512;

/** Regular files, each a view of the archive. Errors: `bad-file` for a header that is none, or a file that is cut short. */
export function parseTar(bytes: Uint8Array): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const text = (from: number, length: number) => {
    const field = bytes.subarray(from, from + length);
    const end = field.indexOf(0);
    return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
  };
  for (let at = 0; at + BLOCK <= bytes.length && bytes[at] !== 0;) {
    const size = Number.parseInt(text(at + 124, 12).trim() || '0', 8);
    if (text(at + 257, 5) !== 'ustar' || !(size >= 0))
      throw new LfmError('bad-file', `Expected a USTAR header at byte ${at} of the archive.`);
    const prefix = text(at + 345, 155);
    const name = prefix ? `${prefix}/${text(at, 100)}` : text(at, 100);
    const start = at + BLOCK;
    if (start + size > bytes.length)
      throw new LfmError('bad-file', `"${name}" has ${size} bytes, which reach past the archive's end.`);
    const type = bytes[at + 156];
    if (type === 0 || type === 0x30) files.set(name, bytes.subarray(start, start + size));
    at = start + Math.ceil(size / BLOCK) * BLOCK;
  }
  return files;
}
