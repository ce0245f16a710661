// Memory for tensors: aligned for the kernels, given back to the system as soon as it is disposed of, and never
// reachable from JavaScript afterwards.

import koffi from '../koffi.node.ts';
import { LfmError } from '../../tensor/error.ts';

/** What exists now; a program that released everything counts zeros. */
export interface LiveCounts {
  values: number;
  sessions: number;
  bindings: number;
  /** Bytes of memory from `allocate`, and of outputs that the runtime allocated and a Value holds. */
  bytes: number;
}

export const live: LiveCounts = { values: 0, sessions: 0, bindings: 0, bytes: 0 };

/** A copy of the counts of live objects, for leak tests. */
export function liveCounts(): LiveCounts {
  return { ...live };
}

/** Cache line, and the widest vector register. */
const alignment = 64;
/** Blocks from this size on are unmapped page by page on Linux: glibc keeps freed blocks of up to 32 MiB for itself. */
const returnFrom = 2 ** 17;
const pageSize = 4096n;
const madviseDontNeed = 4;

/**
 * A block of memory.
 *
 * It is an ordinary ArrayBuffer, and disposing of it detaches that: a stale view then has length zero, where a stale
 * view of foreign memory (koffi.view) would end the process, Node 20 being unable to detach those. Detaching frees the
 * block at the next turn of the event loop, without a garbage collection; on Linux its pages leave the process at once.
 */
export class Memory {
  readonly byteLength: number;
  /** Where it starts, a multiple of 64. */
  readonly address: bigint;
  readonly #offset: number;
  #buffer: ArrayBuffer | undefined;
  /** Tensors over it, plus one until it is disposed of. */
  #holders = 1;
  #disposed = false;

  constructor(byteLength: number) {
    this.byteLength = byteLength;
    try {
      this.#buffer = new ArrayBuffer(byteLength + alignment);
    } catch (cause) {
      throw new LfmError('out-of-memory', `Expected to allocate ${byteLength} bytes, found no room for them.`, {
        cause,
      });
    }
    const start = koffi.address(this.#buffer);
    this.#offset = Number(BigInt.asUintN(64, -start) % BigInt(alignment));
    this.address = start + BigInt(this.#offset);
    live.bytes += byteLength;
  }

  /** The memory itself, not a copy; zeros at first. It is cut to length zero when the memory is freed. */
  get bytes(): Uint8Array<ArrayBuffer> {
    if (!this.#buffer) throw disposedError();
    return new Uint8Array(this.#buffer, this.#offset, this.byteLength);
  }

  /** Keeps the memory until `release`, even if it is disposed of before. */
  retain(): void {
    if (this.#disposed) throw disposedError();
    this.#holders++;
  }

  release(): void {
    if (--this.#holders > 0 || !this.#buffer) return;
    if (process.platform === 'linux' && this.byteLength >= returnFrom) returnPages(this.address, this.byteLength);
    detach(this.#buffer);
    this.#buffer = undefined;
    live.bytes -= this.byteLength;
  }

  /** Frees the memory once no tensor uses it; a second call does nothing. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Zeroed memory of `byteLength` bytes, aligned to 64. */
export function allocate(byteLength: number): Memory {
  return new Memory(byteLength);
}

function disposedError(): LfmError {
  return new LfmError('onnx-disposed', 'Expected memory in use, found memory that was disposed of.');
}

let leaving: MessagePort | undefined;

/** Blocks that go in one turn of the event loop share a channel: making one takes longer than all else here. */
function detach(buffer: ArrayBuffer): void {
  // A message that nobody receives takes the block with it when its port closes.
  if (!leaving) {
    const { port1, port2 } = new MessageChannel();
    leaving = port1;
    setImmediate(() => {
      leaving = undefined;
      port1.close();
      port2.close();
    });
  }
  leaving.postMessage(null, [buffer]);
}

/** Above most vocabularies' logits, which come and go with every token; below most texts' states. */
const MMAP_FROM = 320 * 1024;
const M_MMAP_THRESHOLD = -3;

/**
 * Has glibc map every block from a size on, and so give it back when it is freed. Left alone it raises that size to whatever was
 * freed last, up to 32 MiB, and keeps what weights passed through: half as much again as a loaded model takes. Mapped blocks are
 * also zeros without being touched. Elsewhere nothing happens.
 */
export function mapLargeBlocks(): void {
  glibc('int mallopt(int parameter, int value)', M_MMAP_THRESHOLD, MMAP_FROM);
}

/** Gives back to the system what was freed and kept: for after something large and rare, since it may take milliseconds. */
export function returnFreed(): void {
  glibc('int malloc_trim(size_t pad)', 0);
}

function glibc(prototype: string, ...args: readonly number[]): void {
  if (process.platform !== 'linux') return;
  try {
    koffi.load(null).func(prototype)(...args);
  } catch {
    // Another C library, such as musl, has no such call, and no such habits.
  }
}

let madvise: ((address: bigint, length: number, advice: number) => number) | undefined;

/** Gives whole pages of a block that is about to be freed back to Linux. Failing changes nothing but the timing. */
function returnPages(address: bigint, byteLength: number): void {
  madvise ??= koffi.load(null).func('int madvise(void *address, size_t length, int advice)');
  const start = ((address + pageSize - 1n) / pageSize) * pageSize;
  const end = ((address + BigInt(byteLength)) / pageSize) * pageSize;
  madvise(start, Number(end - start), madviseDontNeed);
}
