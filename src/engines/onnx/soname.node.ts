// Lets other versions of ONNX Runtime be loaded beside ours on Linux. Its loader takes a library that is wanted by name for one that
// is there under that name (DT_SONAME), whatever its path and version: once lfm has loaded libonnxruntime.so.1, an older
// onnxruntime-node would be given it and fail. So ours goes by another name in this process, from when it is loaded.
import koffi from '../koffi.node.ts';

const NAME = 'libonnxruntime.so.1';
/** As long as the other. */
const OURS = 'libonnxruntime.lfm1';

/** Of ELF (64 bits, little-endian): kinds of program headers, flags of segments, entries of the dynamic section. */
const [LOAD, DYNAMIC] = [1, 2];
const EXECUTABLE = 1;
const [STRING_TABLE, SONAME] = [5n, 14n];
/** Of mprotect. */
const [READ, WRITE] = [1, 2];
const PAGE = 4096n;

interface Segment {
  readonly kind: number;
  readonly flags: number;
  readonly start: bigint;
  readonly length: number;
}

/**
 * Renames the library that a function of it is in, in this process's memory. Does nothing elsewhere than on Linux, nor where memory is
 * not as expected: then the other library must be imported first.
 */
export function renameLibrary(inside: bigint): void {
  if (process.platform !== 'linux') return;
  const system = koffi.load(null);
  const found = new BigUint64Array(4);
  if (system.func('int dladdr(void *address, void *info)')(inside, found) === 0) return;
  const [, base = 0n] = found;
  const segments = segmentsAt(base);
  const dynamic = segments.find(({ kind }) => kind === DYNAMIC);
  if (!dynamic) return;
  const entries = new Map<bigint, bigint>();
  const words = new BigUint64Array(koffi.view(dynamic.start, dynamic.length));
  for (let i = 0; i + 1 < words.length && words[i] !== 0n; i += 2) entries.set(words[i] ?? 0n, words[i + 1] ?? 0n);
  const [table, offset] = [entries.get(STRING_TABLE), entries.get(SONAME)];
  if (table === undefined || offset === undefined) return;
  // glibc has made it an address.
  const at = (table < base ? base + table : table) + offset;
  const holder = segments.find(
    ({ kind, start, length }) => kind === LOAD && at >= start && at + BigInt(NAME.length) < start + BigInt(length),
  );
  // A page that is also code is left alone.
  if (!holder || (holder.flags & EXECUTABLE) !== 0) return;
  const name = new Uint8Array(koffi.view(at, NAME.length + 1));
  if (new TextDecoder().decode(name) !== `${NAME}\0`) return;
  const protect = system.func('int mprotect(void *address, size_t length, int protection)');
  const first = (at / PAGE) * PAGE;
  const length = Number(at + BigInt(NAME.length) - first);
  if (protect(first, length, READ | WRITE) !== 0) return;
  name.set(new TextEncoder().encode(OURS));
  protect(first, length, READ);
}

/** The segments of a library as they lie in memory. */
function segmentsAt(base: bigint): Segment[] {
  const head = new DataView(koffi.view(base, 64));
  // 0x7f, then ELF.
  if (head.getUint32(0) !== 0x7f454c46) return [];
  const [size, count] = [head.getUint16(54, true), head.getUint16(56, true)];
  const table = new DataView(koffi.view(base + head.getBigUint64(32, true), size * count));
  return Array.from({ length: count }, (_, i) => ({
    kind: table.getUint32(i * size, true),
    flags: table.getUint32(i * size + 4, true),
    start: base + table.getBigUint64(i * size + 16, true),
    length: Number(table.getBigUint64(i * size + 40, true)),
  }));
}
