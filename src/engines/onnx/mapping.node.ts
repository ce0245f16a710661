// Files as memory: the system reads a page when it is touched, and may drop it when it needs the room.
import type { FileHandle } from 'node:fs/promises';
import koffi from '../koffi.node.ts';
import { LfmError } from '../../tensor/error.ts';
import type { Block } from './memory.node.ts';

const PROT_READ = 1;
const MAP_SHARED = 1;

interface Calls {
  readonly mmap: (
    address: null,
    length: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number,
  ) => bigint;
  readonly munmap: (address: bigint, length: number) => number;
}

let calls: Calls | undefined;

function system(): Calls {
  const c = koffi.load(null);
  return (calls ??= {
    mmap: c.func('intptr_t mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)'),
    munmap: c.func('int munmap(intptr_t address, size_t length)'),
  });
}

/** A whole file, to be read only. It is unmapped when it was disposed of and no part of it is in use. */
export class Mapping {
  readonly address: bigint;
  readonly byteLength: number;
  #holders = 1;

  /** Whether files can be mapped here: only Linux was tried. */
  static readonly isPossible = process.platform === 'linux';

  /** The file may be closed afterwards. Errors: `map-failed`. */
  constructor({ fd }: Pick<FileHandle, 'fd'>, byteLength: number) {
    const address = BigInt(system().mmap(null, byteLength, PROT_READ, MAP_SHARED, fd, 0));
    if (address === -1n) throw new LfmError('map-failed', `Expected to map a file of ${byteLength} bytes; it failed.`);
    this.address = address;
    this.byteLength = byteLength;
  }

  part(offset: number, byteLength: number): Block {
    return {
      address: this.address + BigInt(offset),
      byteLength,
      get bytes(): never {
        throw new LfmError('onnx-mapped', 'Expected memory that JavaScript may look into, found a mapped file.');
      },
      retain: () => void this.#holders++,
      release: () => this.dispose(),
    };
  }

  /** To be called once. */
  dispose(): void {
    if (--this.#holders === 0) system().munmap(this.address, this.byteLength);
  }
}
