// Tensors, sessions and runs of ONNX Runtime's WebAssembly module. Everything stays in the module's memory between runs.
import type { DType } from '../../tensor/index.ts';
import { byteLength, countOf, LfmError } from '../../tensor/index.ts';
import type { InTurn } from '../in-turn.ts';
import { elementTypes } from './proto.ts';
import type { Runtime, RuntimeBinding, RuntimeSession, RuntimeTensor } from './runtime.ts';
import type { OrtModule, Pointer } from './wasm-module.ts';
import { allocate, check, heap, lastError, placeText, withText } from './wasm-module.ts';

const ON_CPU = 1;
const BASIC = 1;
/** With another provider each session would warn of nodes that are not its. */
const [WARNINGS, ERRORS] = [2, 3];

/** The OrtValue of a tensor whose memory is at `data` of a device; 0 where the module makes none. */
export function createValue(
  module: OrtModule,
  { dtype, shape, byteLength: bytes }: Pick<RuntimeTensor, 'dtype' | 'shape' | 'byteLength'>,
  data: Pointer,
  device: number,
): Pointer {
  const dims = allocate(module, 4 * shape.length);
  for (const [axis, size] of shape.entries()) module.setValue(dims + 4 * axis, size, 'i32');
  const value = module._OrtCreateTensor(elementTypes[dtype], data, bytes, dims, shape.length, device);
  module._free(dims);
  return value;
}

export class WasmTensor implements RuntimeTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly byteLength: number;
  readonly #module: OrtModule;
  readonly #data: Pointer;
  #value: Pointer;

  /** Of zeros. Errors: `onnx-out-of-memory`. */
  constructor(module: OrtModule, dtype: DType, shape: readonly number[]) {
    this.dtype = dtype;
    this.shape = shape;
    this.byteLength = byteLength(dtype, countOf(shape));
    this.#module = module;
    this.#data = allocate(module, this.byteLength);
    this.#value = createValue(module, this, this.#data, ON_CPU);
    if (this.#value === 0) {
      module._free(this.#data);
      throw lastError(module, `make a tensor of ${dtype}[${shape.join(', ')}]`);
    }
    this.bytes().fill(0);
  }

  /** The OrtValue*. Errors: `onnx-released`. */
  get pointer(): Pointer {
    if (this.#value === 0) throw new LfmError('onnx-released', 'Expected a tensor in use, found a released one.');
    return this.#value;
  }

  write(fill: (into: Uint8Array) => void): void {
    fill(this.bytes());
  }

  bytes(): Uint8Array {
    return heap(this.#module).subarray(this.#data, this.#data + this.byteLength);
  }

  copy(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.bytes());
  }

  release(): void {
    if (this.#value === 0) return;
    this.#module._OrtReleaseTensor(this.#value);
    this.#module._free(this.#data);
    this.#value = 0;
  }
}

/** A tensor that the module knows by its OrtValue. */
type Placed = RuntimeTensor & { readonly pointer: Pointer };

/** Names and tensors as tables in the module's memory: a run writes nothing but what changed. */
class WasmBinding<T extends Placed> implements RuntimeBinding<T> {
  readonly #module: OrtModule;
  readonly #session: Pointer;
  readonly #names: readonly Pointer[];
  readonly #table: Pointer;
  readonly #inputs: number;
  readonly #outputs: number;
  readonly #afterRun: () => Promise<void>;
  readonly #inTurn: InTurn;

  constructor(
    module: OrtModule,
    session: Pointer,
    inputs: readonly string[],
    outputs: readonly string[],
    afterRun: () => Promise<void>,
    inTurn: InTurn,
  ) {
    this.#module = module;
    this.#session = session;
    this.#inputs = inputs.length;
    this.#outputs = outputs.length;
    this.#afterRun = afterRun;
    this.#inTurn = inTurn;
    this.#names = [...inputs, ...outputs].map((name) => placeText(module, name));
    // Names of inputs, of outputs, then inputs and outputs.
    this.#table = allocate(module, 8 * this.#names.length);
    for (const [index, name] of this.#names.entries()) this.#set(index, name);
  }

  #set(index: number, pointer: Pointer): void {
    this.#module.setValue(this.#table + 4 * index, pointer, '*');
  }

  setInput(slot: number, tensor: T): void {
    this.#set(this.#names.length + slot, tensor.pointer);
  }

  setOutput(slot: number, tensor: T): void {
    this.#set(this.#names.length + this.#inputs + slot, tensor.pointer);
  }

  async runAsync(): Promise<void> {
    const [module, table, count] = [this.#module, this.#table, this.#names.length];
    const status = await this.#inTurn(async () =>
      module._OrtRun(
        this.#session,
        table,
        table + 4 * count,
        this.#inputs,
        table + 4 * this.#inputs,
        this.#outputs,
        table + 4 * (count + this.#inputs),
        0,
      ),
    );
    check(module, status, 'run the model');
    await this.#afterRun();
  }

  dispose(): void {
    for (const name of this.#names) this.#module._free(name);
    this.#module._free(this.#table);
  }
}

export class WasmSession<T extends Placed> implements RuntimeSession<T> {
  readonly #module: OrtModule;
  readonly #session: Pointer;
  readonly #afterRun: () => Promise<void>;
  readonly #inTurn: InTurn;

  /** `inTurn`: how runs wait for each other, where they must. */
  constructor(
    module: OrtModule,
    session: Pointer,
    afterRun: () => Promise<void>,
    inTurn: InTurn = async (work) => work(),
  ) {
    this.#module = module;
    this.#session = session;
    this.#afterRun = afterRun;
    this.#inTurn = inTurn;
  }

  bind(inputs: readonly string[], outputs: readonly string[]): RuntimeBinding<T> {
    return new WasmBinding(this.#module, this.#session, inputs, outputs, this.#afterRun, this.#inTurn);
  }

  release(): void {
    this.#module.webgpuOnReleaseSession?.(this.#session);
    this.#module._OrtReleaseSession(this.#session);
  }
}

/** The same settings as on Node (engine.node.ts says why), for models without weights of their own. `prepare`: adds a provider. */
export async function openSession(
  module: OrtModule,
  model: Uint8Array,
  prepare?: (options: Pointer) => Promise<void>,
): Promise<Pointer> {
  const options = module._OrtCreateSessionOptions(
    BASIC,
    true,
    false,
    0,
    false,
    0,
    0,
    prepare ? ERRORS : WARNINGS,
    0,
    0,
  );
  if (options === 0) throw lastError(module, 'make session options');
  const place = allocate(module, model.byteLength);
  try {
    withText(module, 'optimization.disable_specified_optimizers', (key) =>
      withText(module, 'ReshapeFusion', (value) =>
        check(module, module._OrtAddSessionConfigEntry(options, key, value), 'set the optimizers'),
      ),
    );
    await prepare?.(options);
    heap(module).set(model, place);
    const session = await module._OrtCreateSession(place, model.byteLength, options);
    if (session === 0) throw lastError(module, 'load the model');
    return session;
  } finally {
    module._free(place);
    module._OrtReleaseSessionOptions(options);
  }
}

/**
 * Lets messages and timers in. A run holds its thread from beginning to end, and what follows on it are promises, which come
 * before every message: without this nobody could cancel.
 */
export function turnTaker(): { readonly take: () => Promise<void>; readonly close: () => void } {
  const { port1, port2 } = new MessageChannel();
  const waiting: (() => void)[] = [];
  port1.addEventListener('message', () => waiting.shift()?.());
  port1.start();
  const take = () =>
    new Promise<void>((resolve) => {
      waiting.push(resolve);
      port2.postMessage(undefined);
    });
  return { take, close: () => port1.close() };
}

/** Weights stay inputs: kernels of this module are as fast with them, and laid-out copies would double the memory. */
export function wasmRuntime(
  module: OrtModule,
  description: string,
  afterRun: () => Promise<void>,
): Runtime<WasmTensor> {
  return {
    description,
    weights: 'expanded',
    zeros: (dtype, shape) => new WasmTensor(module, dtype, shape),
    open: async (model) => new WasmSession(module, await openSession(module, model), afterRun),
  };
}
