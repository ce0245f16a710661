// Buffers of the onnx engine: tensors over pooled memory, and such as may be read again.
import type { ArrayType, DType, HostArray } from '../../tensor/index.ts';
import { byteLength, countOf, LfmError, viewHostArray } from '../../tensor/index.ts';
import type { Buffer, Stored } from '../engine.ts';
import type { Runtime, RuntimeTensor } from './runtime.ts';

/** Bytes from which fresh pages are the cheaper zeros. */
const CLEARED_FROM = 2 ** 17;

/** Idle memory kept for the next run, so that a step touches no fresh pages; never more bytes than are in use. */
export class Pool<T extends RuntimeTensor> {
  private readonly runtime: Runtime<T>;
  private readonly idle = new Map<string, T[]>();
  private idleBytes = 0;
  /** Large tensors that were asked for as zeros: clearing one again takes longer than fresh pages, so none is kept. */
  private readonly cleared = new WeakSet<T>();
  liveBytes = 0;
  liveBuffers = 0;

  constructor(runtime: Runtime<T>) {
    this.runtime = runtime;
  }

  /** A buffer over a tensor that was taken from here. */
  buffer(value: T): OnnxBuffer<T> {
    return new OnnxBuffer(this, value, value);
  }

  /** Buffers of arrays that are read when they are needed. */
  stored(types: Readonly<Record<string, ArrayType>>, { read, identity }: Stored): Record<string, OnnxBuffer<T>> {
    const group: Group<T> = { read, identity, members: {} };
    for (const [name, { dtype, shape }] of Object.entries(types)) {
      const type = { dtype, shape: shape.map(Number), byteLength: byteLength(dtype, countOf(shape.map(Number))) };
      group.members[name] = new OnnxBuffer(this, type, undefined, { group, name });
    }
    return { ...group.members };
  }

  /** The same buffer, if it is one of this engine. */
  find(buffer: Buffer | undefined): OnnxBuffer<T> | undefined {
    return OnnxBuffer.of(this, buffer);
  }

  /** `isZero`: all zeros, which fresh memory is without being touched. */
  take(dtype: DType, shape: readonly number[], isZero = false): T {
    const isCleared = isZero && byteLength(dtype, countOf(shape)) >= CLEARED_FROM;
    const value = isCleared ? undefined : this.idle.get(poolKey(dtype, shape))?.pop();
    if (value) this.idleBytes -= value.byteLength;
    if (isZero) value?.write((into) => into.fill(0));
    const taken = value ?? this.runtime.zeros(dtype, shape);
    if (isCleared) this.cleared.add(taken);
    this.liveBytes += taken.byteLength;
    this.liveBuffers++;
    return taken;
  }

  give(value: T): void {
    this.liveBytes -= value.byteLength;
    this.liveBuffers--;
    if (this.cleared.has(value) || this.idleBytes + value.byteLength > this.liveBytes) return value.release();
    const key = poolKey(value.dtype, value.shape);
    const list = this.idle.get(key);
    if (list) list.push(value);
    else this.idle.set(key, [value]);
    this.idleBytes += value.byteLength;
  }

  /** Frees the memory at once. */
  free(value: T): void {
    this.liveBytes -= value.byteLength;
    this.liveBuffers--;
    value.release();
  }

  clear(): void {
    for (const list of this.idle.values()) for (const value of list) value.release();
    this.idle.clear();
    this.idleBytes = 0;
  }
}

function poolKey(dtype: DType, shape: readonly number[]): string {
  return `${dtype}[${shape.join(',')}]`;
}

/** Arrays that are read together. */
interface Group<T extends RuntimeTensor> extends Stored {
  readonly members: Record<string, OnnxBuffer<T>>;
}

export class OnnxBuffer<T extends RuntimeTensor> implements Buffer {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly byteLength: number;
  private readonly pool: Pool<T>;
  private held: T | undefined;
  /** Where its elements can be read. */
  private readonly stored: { readonly group: Group<T>; readonly name: string } | undefined;
  /** Not in memory, but to be had. */
  private isAway: boolean;

  constructor(
    pool: Pool<T>,
    { dtype, shape, byteLength: bytes }: Pick<Buffer, 'dtype' | 'shape' | 'byteLength'>,
    value: T | undefined,
    stored?: { readonly group: Group<T>; readonly name: string },
  ) {
    this.pool = pool;
    this.held = value;
    this.dtype = dtype;
    this.shape = shape;
    this.byteLength = bytes;
    this.stored = stored;
    this.isAway = stored !== undefined;
  }

  /** The same buffer, if it is one of this pool. (A map of them would cost a tenth of a millisecond a token, and the collector's time.) */
  static of<T extends RuntimeTensor>(pool: Pool<T>, buffer: Buffer | undefined): OnnxBuffer<T> | undefined {
    return buffer instanceof OnnxBuffer && buffer.pool === pool ? buffer : undefined;
  }

  /** Errors: `disposed-buffer`. */
  get value(): T {
    if (!this.held) throw new LfmError('disposed-buffer', 'A buffer was used after it was disposed or donated.');
    return this.held;
  }

  /** Tells its numbers from all others that ever were, where something does. */
  get identity(): string | undefined {
    const { group, name } = this.stored ?? {};
    return group?.identity === undefined ? undefined : JSON.stringify([group.identity, name]);
  }

  /** Whether `value` is at hand. */
  get isPresent(): boolean {
    return this.held !== undefined;
  }

  /** The tensor; where it is away it is read, with those that it lies with. Errors: `disposed-buffer`, those of reading. */
  async present(): Promise<T> {
    if (!this.isAway || !this.stored) return this.value;
    const { read, members } = this.stored.group;
    const arrays = await read();
    for (const [name, member] of Object.entries(members)) member.fill(arrays[name]);
    return this.value;
  }

  /** Someone else may have read it meanwhile, or have disposed of it. */
  private fill(data: HostArray | undefined): void {
    if (!this.isAway || !data) return;
    this.held = filled(this.pool, this.dtype, this.shape, data);
    this.isAway = false;
  }

  /** Frees the memory until it is wanted again. */
  letGo(): void {
    if (!this.held || !this.stored) return;
    this.pool.free(this.surrender());
    this.isAway = true;
  }

  /** Gives the tensor up without freeing it: it lives on in another buffer. */
  surrender(): T {
    const { value } = this;
    this.held = undefined;
    return value;
  }

  dispose(): void {
    this.isAway = false;
    if (this.held) this.pool.give(this.surrender());
  }

  /** Copies the elements out. */
  async copy(): Promise<HostArray> {
    const read = this.isAway && this.stored ? (await this.stored.group.read())[this.stored.name] : undefined;
    if (read) return read;
    const bytes = await this.value.copy();
    return viewHostArray(this.dtype, bytes.buffer, bytes.byteOffset, countOf(this.shape));
  }
}

/** A tensor of these elements. Errors: `bad-input` where they are not as many. */
export function filled<T extends RuntimeTensor>(
  pool: Pool<T>,
  dtype: DType,
  shape: readonly number[],
  data: HostArray,
): T {
  const needed = byteLength(dtype, countOf(shape));
  if (data.byteLength !== needed)
    throw new LfmError('bad-input', `${dtype}[${shape.join(', ')}] takes ${needed} bytes; found ${data.byteLength}.`);
  const value = pool.take(dtype, shape);
  value.write((into) => into.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)));
  return value;
}
