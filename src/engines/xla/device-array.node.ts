// The engine's buffers: memory of one device or of each device of a mesh, with one holder, counted, and kept while a launch that reads it is being started.
import type { DType } from '../../tensor/index.ts';
import { byteLength, countOf, LfmError } from '../../tensor/index.ts';
import type { Buffer, Sharding } from '../engine.ts';
import type { DeviceBuffer } from './buffer.node.ts';

export class DeviceArray implements Buffer {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly byteLength: number;
  /** How it is divided over the mesh; without one every device holds all of it. */
  readonly sharding: Sharding | undefined;
  private readonly owner: Set<DeviceArray>;
  private held: readonly DeviceBuffer[] | undefined;
  private pins = 0;
  private doomed: readonly DeviceBuffer[] = [];

  /** `memories`: one for each device of the mesh that this process drives, in the mesh's order. */
  constructor(
    owner: Set<DeviceArray>,
    memories: readonly DeviceBuffer[],
    dtype: DType,
    shape: readonly number[],
    sharding?: Sharding,
  ) {
    this.owner = owner;
    this.held = memories;
    this.dtype = dtype;
    this.shape = shape;
    this.sharding = sharding;
    this.byteLength = byteLength(dtype, countOf(shape));
    owner.add(this);
  }

  get memories(): readonly DeviceBuffer[] {
    if (!this.held) throw new LfmError('disposed-buffer', 'A buffer was used after it was disposed or donated.');
    return this.held;
  }

  /** Keeps the memory until `unpin`, even if the holder disposes it meanwhile. */
  pin(): void {
    this.pins++;
  }

  unpin(): void {
    if (--this.pins > 0) return;
    for (const memory of this.doomed) memory.destroy();
    this.doomed = [];
  }

  /** Whether a launch took the memory over. */
  isTaken(): boolean {
    return this.held?.some((memory) => memory.isDeleted()) ?? false;
  }

  /** Takes over what another one holds, in place of memory that it gave up. */
  become(other: DeviceArray): void {
    this.held = other.memories;
    other.held = undefined;
    this.owner.delete(other);
    this.owner.add(this);
  }

  dispose(): void {
    if (!this.held) return;
    if (this.pins > 0) this.doomed = this.held;
    else for (const memory of this.held) memory.destroy();
    this.held = undefined;
    this.owner.delete(this);
  }
}

/** An engine's buffer as this engine's own. Errors: `bad-input`, naming `what` was to take it. */
export function arrayOf(buffer: Buffer | undefined, what: string): DeviceArray {
  if (buffer instanceof DeviceArray) return buffer;
  throw new LfmError(
    'bad-input',
    `${what} expects a buffer of the xla engine; found ${buffer ? 'another engine’s' : 'none'}.`,
  );
}
