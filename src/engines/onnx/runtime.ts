// What the engine needs of ONNX Runtime. The C library on Node and the WebAssembly module in a browser both offer it.
import type { DType } from '../../tensor/index.ts';
import type { OnnxBuffer } from './buffer.ts';
import type { LoweredProgram } from './lower.ts';

/** An array in the runtime's memory. */
export interface RuntimeTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly byteLength: number;
  /** The memory itself, to be used at once: it may move with the next allocation. */
  bytes(): Uint8Array;
  copy(): Uint8Array<ArrayBuffer>;
  /** Twice does nothing. */
  release(): void;
}

/** A session's inputs and outputs by their places. One tensor may stand at an input and an output: updated in place. */
export interface RuntimeBinding<T extends RuntimeTensor> {
  setInput(slot: number, tensor: T): void;
  setOutput(slot: number, tensor: T): void;
  /** Errors: `onnx-run-failed`. */
  runAsync(): Promise<void>;
  dispose(): void;
}

export interface RuntimeSession<T extends RuntimeTensor> {
  bind(inputs: readonly string[], outputs: readonly string[]): RuntimeBinding<T>;
  release(): void;
}

export interface Runtime<T extends RuntimeTensor> {
  /** Version, provider and threads, for people. */
  readonly description: string;
  /** A tensor whose elements are to be written: what they are before that is not said. */
  make(dtype: DType, shape: readonly number[]): T;
  /** All zeros, untouched where fresh memory is that already. */
  zeros(dtype: DType, shape: readonly number[]): T;
  open(model: Uint8Array): Promise<RuntimeSession<T>>;
  /**
   * A session that weights are part of, which may lay them out anew; `bind` by the names of their initializers. Absent where
   * weights are inputs like any other, so that sessions share them.
   */
  readonly openBound?: (
    lowered: LoweredProgram,
    bind: Readonly<Record<string, OnnxBuffer<T>>>,
  ) => Promise<RuntimeSession<T>>;
}
