// Buffers of the onnx engine: tensors over pooled memory, and such as may be read again.
import type { DType, HostArray } from '../../tensor/index.ts';
import { byteLength, countOf, LfmError, viewHostArray } from '../../tensor/index.ts';
import type { Buffer } from '../engine.ts';
import type { Runtime, RuntimeTensor } from './runtime.ts';

/** Idle memory kept for the next run, so that a step touches no fresh pages; never more bytes than are in use. */
export class Pool<T extends RuntimeTensor> {
  private readonly runtime: Runtime<T>;
  private readonly idle = new Map<string, T[]>();
  private idleBytes = 0;
  liveBytes = 0;
  liveBuffers = 0;
  private readonly buffers = new WeakMap<Buffer, OnnxBuffer<T>>();

  constructor(runtime: Runtime<T>) {
    this.runtime = runtime;
  }

  /** A buffer over a tensor that was taken from here. */
  buffer(value: T, again?: () => Promise<HostArray>): OnnxBuffer<T> {
    const buffer = new OnnxBuffer(this, value, again);
    this.buffers.set(buffer, buffer);
    return buffer;
  }

  /** The same buffer, if it is one of this engine. */
  find(buffer: Buffer | undefined): OnnxBuffer<T> | undefined {
    return buffer && this.buffers.get(buffer);
  }

  take(dtype: DType, shape: readonly number[]): T {
    const value = this.idle.get(poolKey(dtype, shape))?.pop();
    if (value) this.idleBytes -= value.byteLength;
    const taken = value ?? this.runtime.make(dtype, shape);
    this.liveBytes += taken.byteLength;
    this.liveBuffers++;
    return taken;
  }

  give(value: T): void {
    this.liveBytes -= value.byteLength;
    this.liveBuffers--;
    if (this.idleBytes + value.byteLength > this.liveBytes) return value.release();
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

export class OnnxBuffer<T extends RuntimeTensor> implements Buffer {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly byteLength: number;
  private readonly pool: Pool<T>;
  private held: T | undefined;
  /** Reads the elements again, where they may be let go. */
  readonly again: (() => Promise<HostArray>) | undefined;
  private isLetGo = false;

  constructor(pool: Pool<T>, value: T, again?: () => Promise<HostArray>) {
    this.pool = pool;
    this.held = value;
    this.dtype = value.dtype;
    this.shape = value.shape;
    this.byteLength = value.byteLength;
    this.again = again;
  }

  /** Errors: `disposed-buffer`. */
  get value(): T {
    if (!this.held) throw new LfmError('disposed-buffer', 'A buffer was used after it was disposed or donated.');
    return this.held;
  }

  /** The tensor, read again where it was let go. Errors: `disposed-buffer`, those of reading. */
  async present(): Promise<T> {
    if (!this.isLetGo || !this.again) return this.value;
    const data = await this.again();
    // Someone else may have read it meanwhile, or have disposed of it.
    if (!this.isLetGo) return this.value;
    this.isLetGo = false;
    this.held = filled(this.pool, this.dtype, this.shape, data);
    return this.held;
  }

  /** Frees the memory until it is wanted again. */
  letGo(): void {
    if (!this.held || !this.again) return;
    this.pool.free(this.surrender());
    this.isLetGo = true;
  }

  /** Gives the tensor up without freeing it: it lives on in another buffer. */
  surrender(): T {
    const { value } = this;
    this.held = undefined;
    return value;
  }

  dispose(): void {
    this.isLetGo = false;
    if (this.held) this.pool.give(this.surrender());
  }

  /** Copies the elements out. */
  async copy(): Promise<HostArray> {
    if (this.isLetGo && this.again) return this.again();
    const bytes = this.value.copy();
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
  value.bytes().set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return value;
}
