// Tensors as ONNX Runtime sees them (OrtValue): over memory of ours, or over memory that a run allocated.

import koffi from '../koffi.node.ts';
import { byteLength, type DType } from '../../tensor/dtype.ts';
import { LfmError } from '../../tensor/error.ts';
import { library, type Pointer } from './library.node.ts';
import { live, Memory } from './memory.node.ts';
import { elementTypes } from './proto.ts';

const dtypeOfElementType = new Map(Object.entries(elementTypes).map(([name, type]) => [type, name as DType]));
/** Where tensors without elements point: the runtime wants an address even for those. */
const nowhere = new ArrayBuffer(64);

/**
 * A tensor the runtime reads or writes. Release it when done: nothing else frees it.
 * Releasing twice does nothing; using a released tensor is an LfmError.
 */
export class Value {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly byteLength: number;
  #pointer: Pointer;
  /** The memory under it: ours, or undefined where the runtime owns it. */
  #memory: Memory | ArrayBufferView | undefined;
  /** Runs in flight and sessions that use it; it is freed after the last of them. */
  #holders = 0;
  #released = false;
  /** The runtime's memory has been shown to JavaScript, so it must live as long as that ArrayBuffer. */
  #shown: WeakRef<ArrayBuffer> | undefined;

  private constructor(
    pointer: Pointer,
    dtype: DType,
    shape: readonly number[],
    memory: Memory | ArrayBufferView | undefined,
  ) {
    this.#pointer = pointer;
    this.dtype = dtype;
    this.shape = shape;
    this.byteLength = byteLength(dtype, product(shape));
    this.#memory = memory;
    live.values++;
    if (!memory) live.bytes += this.byteLength;
  }

  /**
   * A tensor over existing memory, without a copy: typed arrays (of SharedArrayBuffers too) or Memory, from its start.
   * The memory is kept as long as the tensor; an ArrayBuffer must not be transferred meanwhile.
   * @throws LfmError onnx-tensor-size when the memory is too small
   */
  static over(dtype: DType, shape: readonly number[], memory: Memory | ArrayBufferView): Value {
    const needed = byteLength(dtype, checkedProduct(shape));
    if (memory.byteLength < needed) {
      const found = `found ${memory.byteLength}`;
      throw new LfmError('onnx-tensor-size', `Expected ${needed} bytes for ${dtype}[${shape}], ${found}.`);
    }
    const opened = library();
    const dims = BigInt64Array.from(shape, BigInt);
    if (memory instanceof Memory) memory.retain();
    try {
      const address = needed === 0 ? koffi.address(nowhere) : addressOf(memory);
      const pointer = opened.pointer(`make a tensor of ${dtype}[${shape}]`, (out) =>
        opened.calls.createTensorWithData(
          opened.hostMemory,
          address,
          needed,
          dims,
          shape.length,
          elementTypes[dtype],
          out,
        ),
      );
      return new Value(pointer, dtype, [...shape], memory);
    } catch (error) {
      if (memory instanceof Memory) memory.release();
      throw error;
    }
  }

  /** A tensor of zeros in memory of its own, freed with it. */
  static zeros(dtype: DType, shape: readonly number[]): Value {
    using memory = new Memory(byteLength(dtype, checkedProduct(shape)));
    return Value.over(dtype, shape, memory);
  }

  /** Takes over a tensor that the runtime allocated. */
  static adopt(pointer: Pointer): Value {
    try {
      const { dtype, shape } = describe(pointer);
      return new Value(pointer, dtype, shape, undefined);
    } catch (error) {
      library().releases.releaseValue(pointer);
      throw error;
    }
  }

  /** The OrtValue*. */
  get pointer(): Pointer {
    this.checkInUse();
    return this.#pointer;
  }

  checkInUse(): void {
    if (this.#released) throw new LfmError('onnx-released', `Expected a tensor in use, found a released ${this}.`);
  }

  /**
   * The tensor's memory, not a copy. Where the runtime allocated it, the memory outlives `release` for as long as
   * JavaScript can reach this array: prefer `copy` for what is read once.
   */
  bytes(): Uint8Array {
    const pointer = this.pointer;
    const memory = this.#memory;
    if (memory instanceof Memory) return memory.bytes.subarray(0, this.byteLength);
    if (memory) return new Uint8Array(memory.buffer, memory.byteOffset, this.byteLength);
    let buffer = this.#shown?.deref();
    if (!buffer) {
      buffer = viewTensor(pointer, this.byteLength);
      this.#shown = new WeakRef(buffer);
    }
    return new Uint8Array(buffer);
  }

  write(fill: (into: Uint8Array) => void): void {
    fill(this.bytes());
  }

  /** A copy of the tensor's bytes. */
  copy(): Uint8Array<ArrayBuffer> {
    const memory = this.#memory ? this.bytes() : new Uint8Array(viewTensor(this.pointer, this.byteLength));
    return new Uint8Array(memory);
  }

  /** Keeps the tensor alive through a run or within a session, whatever `release` says meanwhile. */
  hold(): void {
    this.#holders++;
  }

  letGo(): void {
    this.#holders--;
    if (this.#released && this.#holders === 0) this.#free();
  }

  /** Frees the tensor, at once or when the runs and sessions that use it are done. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    live.values--;
    if (this.#holders === 0) this.#free();
  }

  [Symbol.dispose](): void {
    this.release();
  }

  toString(): string {
    return `${this.dtype}[${this.shape}]`;
  }

  #free(): void {
    const shown = this.#shown?.deref();
    if (shown) {
      freeWithView.register(shown, { pointer: this.#pointer, bytes: this.byteLength });
      return;
    }
    library().releases.releaseValue(this.#pointer);
    if (this.#memory instanceof Memory) this.#memory.release();
    if (!this.#memory) live.bytes -= this.byteLength;
    this.#memory = undefined;
  }
}

/** Frees tensors whose memory JavaScript could still reach when they were released. */
const freeWithView = new FinalizationRegistry<{ pointer: Pointer; bytes: number }>(({ pointer, bytes }) => {
  library().releases.releaseValue(pointer);
  live.bytes -= bytes;
});

function describe(pointer: Pointer): { dtype: DType; shape: number[] } {
  const opened = library();
  const { calls } = opened;
  const info = opened.pointer('read the type of a tensor', (out) => calls.getTensorTypeAndShape(pointer, out));
  try {
    const type = new Int32Array(1);
    const rank = new BigUint64Array(1);
    opened.check(calls.getTensorElementType(info, type), 'read the element type of a tensor');
    opened.check(calls.getDimensionsCount(info, rank), 'read the rank of a tensor');
    const dims = new BigInt64Array(Number(rank[0]));
    if (dims.length > 0) opened.check(calls.getDimensions(info, dims, dims.length), 'read the shape of a tensor');
    const dtype = dtypeOfElementType.get(type[0] ?? 0);
    if (dtype === undefined) {
      const found = `found ONNX element type ${type[0]}`;
      throw new LfmError('onnx-element-type', `Expected an output of a dtype in use here, ${found}; add a Cast.`);
    }
    return { dtype, shape: Array.from(dims, Number) };
  } finally {
    opened.releases.releaseTensorTypeAndShapeInfo(info);
  }
}

function viewTensor(pointer: Pointer, length: number): ArrayBuffer {
  const opened = library();
  const data = opened.pointer('find the memory of a tensor', (out) => opened.calls.getTensorMutableData(pointer, out));
  return koffi.view(data, length);
}

/** Address of the first byte. Asking for `buffer` takes a small typed array out of V8's heap, where it could move. */
function addressOf(memory: Memory | ArrayBufferView): Pointer {
  if (memory instanceof Memory) return memory.address;
  return koffi.address(new Uint8Array(memory.buffer, memory.byteOffset, memory.byteLength));
}

function product(shape: readonly number[]): number {
  return shape.reduce((count, size) => count * size, 1);
}

function checkedProduct(shape: readonly number[]): number {
  const count = product(shape);
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0) || !Number.isSafeInteger(count)) {
    throw new LfmError('onnx-shape', `Expected a shape of counts, found [${shape}].`);
  }
  return count;
}
