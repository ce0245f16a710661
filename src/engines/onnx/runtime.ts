// What the engine needs of ONNX Runtime. The C library on Node and the WebAssembly module in a browser both offer it.
import type { DType } from '../../tensor/index.ts';
import type { Box } from '../engine.ts';
import type { OnnxBuffer } from './buffer.ts';
import type { LoweredProgram } from './lower.ts';
import type { WeightUse } from './lowering.ts';

/** An array in the runtime's memory. */
export interface RuntimeTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly byteLength: number;
  /** The memory itself, to be used at once: it may move with the next allocation. Absent where it is a GPU's. */
  bytes?(): Uint8Array;
  /** `fill` gets the memory, or zeros that are then written there. */
  write(fill: (into: Uint8Array) => void): void;
  copy(): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>>;
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
  /** A tensor of zeros; `isForm`: of a weight in the form that kernels read. */
  zeros(dtype: DType, shape: readonly number[], isForm?: boolean): T;
  /** Copies a checked box between tensors without `bytes`. */
  copyBox?(from: T, to: T, box: Box): void;
  /** What weights are to a program: part of it, or inputs: expanded, or as they are packed. */
  readonly weights: WeightUse;
  /** `hostNodes`: names of nodes that are better not the GPU's, where there is one. */
  open(model: Uint8Array, hostNodes: readonly string[]): Promise<RuntimeSession<T>>;
  /**
   * A session that weights are part of, which may lay them out anew; `bind` by the names of their initializers. Absent where
   * weights are inputs like any other, so that sessions share them.
   */
  readonly openBound?: (
    lowered: LoweredProgram,
    bind: Readonly<Record<string, OnnxBuffer<T>>>,
  ) => Promise<RuntimeSession<T>>;
}
