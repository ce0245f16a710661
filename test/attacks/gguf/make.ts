// Makes the hostile GGUF files in this folder, each named after the error code it must meet.
// Run with: npx tsx test/attacks/gguf/make.ts
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const utf8 = new TextEncoder();

/** Little-endian pieces: a text with its length before it, u32 and u64 as written here, bytes as they are. */
type Piece = string | Uint8Array | { u32: number } | { u64: bigint | number };

function join(...pieces: Piece[]): Uint8Array {
  const parts = pieces.map((piece): Uint8Array => {
    if (piece instanceof Uint8Array) return piece;
    if (typeof piece === 'string') return join({ u64: utf8.encode(piece).length }, utf8.encode(piece));
    const bytes = new Uint8Array('u32' in piece ? 4 : 8);
    const view = new DataView(bytes.buffer);
    if ('u32' in piece) view.setUint32(0, piece.u32, true);
    else view.setBigUint64(0, BigInt(piece.u64), true);
    return bytes;
  });
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

const u32 = (value: number): Piece => ({ u32: value });
const u64 = (value: bigint | number): Piece => ({ u64: value });
const [UINT32, BOOL, STRING, ARRAY] = [u32(4), u32(7), u32(8), u32(9)] as const;
const F32 = 0;
const Q8_0 = 8;

interface Parts {
  magic?: string;
  version?: number;
  pairs?: Piece[][];
  pairCount?: bigint | number;
  tensors?: Piece[][];
  tensorCount?: bigint | number;
  dataBytes?: number;
}

/** A file of these parts; counts may lie. Data begins at the next multiple of 32. */
function file({ magic = 'GGUF', version = 3, pairs = [], tensors = [], dataBytes = 0, ...counts }: Parts): Uint8Array {
  const { pairCount = pairs.length, tensorCount = tensors.length } = counts;
  const header = join(
    utf8.encode(magic),
    u32(version),
    u64(tensorCount),
    u64(pairCount),
    ...pairs.flat(),
    ...tensors.flat(),
  );
  const out = new Uint8Array(tensors.length > 0 ? Math.ceil(header.length / 32) * 32 + dataBytes : header.length);
  out.set(header);
  return out;
}

const tensor = (name: string, sizes: (bigint | number)[], type: number, offset: bigint | number): Piece[] => [
  name,
  u32(sizes.length),
  ...sizes.map(u64),
  u32(type),
  u64(offset),
];
const pair = (key: string, ...value: Piece[]): Piece[] => [key, ...value];
const one = (...entry: Piece[][]): Parts => ({ tensors: entry, dataBytes: 32 });

/** File contents by error code. */
export const attacks: Readonly<Record<string, Uint8Array>> = {
  'gguf-too-short': utf8.encode('GGUF'),
  'gguf-magic': file({ magic: 'GGML' }),
  'gguf-version': file({ version: 0x03000000 }),
  'gguf-counts': file({ tensorCount: 2n ** 63n }),
  // A count that the bytes left could hold, of pairs that they then do not.
  'gguf-cut-short': file({ pairs: [pair('a', UINT32, u32(1))], pairCount: 1 }).subarray(0, -2),
  'gguf-string-length': file({ pairs: [pair('a', STRING, u64(2n ** 64n - 1n))] }),
  'gguf-name-length': file(one(tensor('x'.repeat(65), [4], F32, 0))),
  'gguf-utf8': file({ pairs: [pair('a', STRING, u64(2), Uint8Array.of(0xc3, 0x28))] }),
  'gguf-bool': file({ pairs: [pair('a', BOOL, Uint8Array.of(2))] }),
  'gguf-value-type': file({ pairs: [pair('a', u32(13), u64(0))] }),
  'gguf-array-nested': file({ pairs: [pair('a', ARRAY, ARRAY, u64(1), ARRAY, u64(1))] }),
  'gguf-array-length': file({ pairs: [pair('a', ARRAY, UINT32, u64(2n ** 62n))] }),
  'gguf-duplicate-key': file({ pairs: [pair('a', UINT32, u32(1)), pair('a', UINT32, u32(2))] }),
  'gguf-alignment': file({ pairs: [pair('general.alignment', UINT32, u32(12))] }),
  'gguf-duplicate-tensor': file(one(tensor('a', [4], F32, 0), tensor('a', [4], F32, 32))),
  'gguf-dimensions': file(one(tensor('a', [1, 1, 1, 1, 4], F32, 0))),
  'gguf-tensor-type': file(one(tensor('a', [4], 77, 0))),
  'gguf-shape-overflow': file(one(tensor('a', [2n ** 32n, 2n ** 32n, 4], F32, 0))),
  'gguf-block': file(one(tensor('a', [33, 32], Q8_0, 0))),
  'gguf-offset-range': file(one(tensor('a', [4], F32, 2n ** 64n - 32n))),
  'gguf-offset-alignment': file(one(tensor('a', [4], F32, 4))),
  'gguf-overlap': file(one(tensor('a', [4], F32, 0), tensor('__proto__', [4], F32, 0))),
  'gguf-hole': file({ ...one(tensor('a', [4], F32, 0), tensor('b', [4], F32, 64)), dataBytes: 96 }),
  'gguf-trailing-data': file({ ...one(tensor('a', [4], F32, 0)), dataBytes: 33 }),
};

/** Names that other programs stumble over, in a file that is whole. */
export const harmless = file({
  pairs: [pair('__proto__', UINT32, u32(1)), pair('constructor', STRING, 'x')],
  ...one(tensor('__proto__', [4], F32, 0)),
});

const path = fileURLToPath(import.meta.url);
if (process.argv[1] === path) {
  for (const [code, bytes] of Object.entries(attacks)) {
    writeFileSync(new URL(`${code}.gguf`, import.meta.url), bytes);
  }
}
