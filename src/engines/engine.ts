// The one interface of all engines: compile a program, run it over buffers that the engine owns.
import type { ArrayType, DType, HostArray, Program } from '../tensor/index.ts';
import type { Part } from '../tensor/part.ts';

/**
 * An array in an engine's memory. Whoever holds it disposes it; a donated buffer is disposed by the run that takes it.
 * Using a disposed buffer is an error (`disposed-buffer`).
 */
export interface Buffer {
  readonly dtype: DType;
  /** Of the whole array, also where its parts lie on several devices. */
  readonly shape: readonly number[];
  readonly byteLength: number;
  dispose(): void;
}

export type Buffers = Readonly<Record<string, Buffer>>;

/**
 * How an array is divided over a mesh of devices: for each dimension the mesh axes that divide it, the outermost first.
 * Devices that differ along other axes only hold copies.
 */
export interface Sharding {
  readonly axes: readonly (readonly string[])[];
  /** What a compiler hears first when shardings disagree; 0, the default, comes before 1. */
  readonly priority?: number;
}

/** A block of an array, which some of the mesh's devices hold, each all of it. */
export interface BufferPart extends Part {
  /** Their places in the mesh, ascending; those of other processes among them. */
  readonly devices: readonly number[];
  /** Copies the block out of one of them, into `into` where given. Errors: `not-addressable` for another process's device. */
  read(device: number, into?: HostArray): Promise<HostArray>;
}

export interface CompileOptions {
  /**
   * Inputs fixed for the executable's life (weights at inference), by input name: an engine may lay them out anew. The
   * buffers stay the caller's and must outlive the executable.
   */
  readonly bind?: Buffers;
  /** Runs will be of a few rows (tokens of all texts together): an engine may choose its kernels by that. Default false. */
  readonly fewRows?: boolean;
  /**
   * By name of an input or output (names that the program lacks are passed over; ports without one are copied to every
   * device). An engine without a mesh ignores it.
   */
  readonly shardings?: Readonly<Record<string, Sharding>>;
}

/** Arrays that lie together in a file. */
export interface Stored {
  /** All of them, by name. */
  read(): Promise<Readonly<Record<string, HostArray>>>;
  /** Tells these numbers from all others that ever were; absent: nothing that is made of them may outlive the process. */
  readonly identity?: string | undefined;
}

/** A part of one buffer and its place in another: where it begins in each, and its size along each axis. */
export interface Box {
  readonly from: readonly number[];
  readonly to: readonly number[];
  readonly shape: readonly number[];
}

export interface Executable {
  /**
   * Runs with a buffer for each input that is not bound, by name; fresh buffers come back for each output, by name. A
   * donated input's memory passes to its output. Runs of one executable are serialised by the engine.
   * Errors: a missing, unknown or misshapen input (`bad-input`).
   */
  run(inputs: Buffers): Promise<Record<string, Buffer>>;
  /** Memory that the compiled program holds beyond its buffers, where the engine can tell; in bytes. */
  readonly memoryBytes?: number;
  release(): void;
}

export interface Engine {
  /** 'reference', 'onnx' or 'xla'. */
  readonly name: string;
  /** Library, version, provider and device, for people. */
  readonly description: string;
  /** The devices that arrays and programs may be divided over, by axis; absent or undefined for one device. */
  readonly mesh?: Readonly<Record<string, number>> | undefined;
  /** What one device is called, and the bytes that programs may use of its memory, where it tells. */
  readonly device?: { readonly kind: string; readonly memoryBytes: number | undefined };
  /** Whether a training step runs better as one program, whose gradients never leave it, than as two. */
  readonly fusesSteps?: boolean;
  /** Whether programs are compiled for each size of their shapes: few sizes, and large ones, run best there. */
  readonly compilesBySize?: boolean;
  /** Whether packed weights are best held in one form there, however many rows a step has. */
  readonly keepsOneForm?: boolean;
  /** Whether steps of one token are better a program of their own: it holds no weights, and its products know that x is one row. */
  readonly prefersOneToken?: boolean;
  /** Whether attention over keys and values of int8 has kernels there, which read fewer bytes than those of floats. */
  readonly prefersInt8Rows?: boolean;
  compile(program: Program, options?: CompileOptions): Promise<Executable>;
  /** Copies host memory (in HostArray's layout for the dtype) into a new buffer; where there is a mesh, each device gets its part. */
  upload(dtype: DType, shape: readonly number[], data: HostArray, sharding?: Sharding): Promise<Buffer>;
  /**
   * Buffers by name for arrays that can be read at any time: an engine whose programs lay bound weights out anew may do so when they
   * are needed, and free the memory in between. What needs them fails with the errors of `read`, too.
   */
  uploadStored?(types: Readonly<Record<string, ArrayType>>, stored: Stored): Promise<Record<string, Buffer>>;
  /** Copies a buffer's elements out. */
  download(buffer: Buffer): Promise<HostArray>;
  /** The blocks that make up a buffer, each once. There where there is a mesh, as `uploadParts` is. */
  parts?(buffer: Buffer): readonly BufferPart[];
  /** As `upload`, of blocks that `read` is asked for one by one: the whole array is never on the host. */
  uploadParts?(
    dtype: DType,
    shape: readonly number[],
    sharding: Sharding,
    read: (part: Part) => Promise<HostArray>,
  ): Promise<Buffer>;
  /** A buffer of zeros. */
  zeros(dtype: DType, shape: readonly number[], sharding?: Sharding): Promise<Buffer>;
  /**
   * Copies a part of one buffer into another of its type, which keeps its other elements. Types of less than a byte are not
   * copied. Errors: `bad-box`, `bad-input`.
   */
  copy(from: Buffer, to: Buffer, box: Box): Promise<void>;
  /** Buffers that are alive, for leak tests and memory accounting. */
  live(): { buffers: number; bytes: number };
  close(): Promise<void>;
}
