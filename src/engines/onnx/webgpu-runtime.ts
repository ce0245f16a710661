// Tensors, sessions and runs of ONNX Runtime's WebGPU provider. Floats stay in buffers of the GPU between runs; integers, of
// which come shapes and places, stay in the module's memory.
import type { DType } from '../../tensor/index.ts';
import { byteLength, countOf, LfmError } from '../../tensor/index.ts';
import { copyRuns } from '../copy.ts';
import { encodeModel, GraphBuilder } from './proto.ts';
import type { Runtime, RuntimeTensor } from './runtime.ts';
import { inTurn } from '../in-turn.ts';
import type { GpuModule, Pointer } from './wasm-module.ts';
import { allocate, check, lastError, placeText } from './wasm-module.ts';
import { createValue, openSession, WasmSession, WasmTensor } from './wasm-runtime.ts';

const ON_GPU = 4;
/** Buffers are whole vectors of so many bytes for the provider's kernels. */
const UNIT = 16;
/** GPUBufferUsage and GPUMapMode, as the specification of WebGPU numbers them. */
const [MAP_READ, COPY_SRC, COPY_DST, STORAGE] = [0x1, 0x4, 0x8, 0x80];

/** What tensors of the GPU share. */
interface Gpu {
  readonly module: GpuModule;
  readonly device: GPUDevice;
  /** Any session of the device: buffers are made known to the module through one. */
  readonly session: Pointer;
}

export class GpuTensor implements RuntimeTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly byteLength: number;
  readonly buffer: GPUBuffer;
  readonly #gpu: Gpu;
  #value: Pointer;

  /** Of zeros. */
  constructor(gpu: Gpu, dtype: DType, shape: readonly number[]) {
    this.dtype = dtype;
    this.shape = shape;
    this.byteLength = byteLength(dtype, countOf(shape));
    this.#gpu = gpu;
    const { module, device, session } = gpu;
    this.buffer = device.createBuffer({
      size: Math.max(UNIT, UNIT * Math.ceil(this.byteLength / UNIT)),
      usage: STORAGE | COPY_SRC | COPY_DST,
    });
    const data = module.webgpuRegisterBuffer(this.buffer, session);
    this.#value = createValue(module, this, data, ON_GPU);
    if (this.#value === 0) {
      this.buffer.destroy();
      throw lastError(module, `make a tensor of ${dtype}[${shape.join(', ')}] on the GPU`);
    }
  }

  get pointer(): Pointer {
    if (this.#value === 0) throw new LfmError('onnx-released', 'Expected a tensor in use, found a released one.');
    return this.#value;
  }

  write(fill: (into: Uint8Array) => void): void {
    const { size } = this.buffer;
    const bytes = new Uint8Array(size);
    fill(bytes.subarray(0, this.byteLength));
    this.#gpu.device.queue.writeBuffer(this.buffer, 0, bytes);
  }

  async copy(): Promise<Uint8Array<ArrayBuffer>> {
    const { device } = this.#gpu;
    const { size } = this.buffer;
    const read = device.createBuffer({ size, usage: MAP_READ | COPY_DST });
    try {
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(this.buffer, 0, read, 0, size);
      device.queue.submit([encoder.finish()]);
      await read.mapAsync(MAP_READ);
      return new Uint8Array(read.getMappedRange().slice(0, this.byteLength));
    } finally {
      read.destroy();
    }
  }

  release(): void {
    if (this.#value === 0) return;
    const { module } = this.#gpu;
    module._OrtReleaseTensor(this.#value);
    module.webgpuUnregisterBuffer(this.buffer);
    this.buffer.destroy();
    this.#value = 0;
  }
}

type Tensor = WasmTensor | GpuTensor;

/** Starts the provider on a device. Errors: `onnx-failed` where it does not start. */
export async function webgpuRuntime(
  module: GpuModule,
  device: GPUDevice,
  description: string,
  afterRun: () => Promise<void>,
): Promise<Runtime<Tensor>> {
  module.asyncInit?.();
  module.webgpuInit(() => undefined);
  /** The module waits for one thing at a time. */
  const oneAtATime = inTurn();
  const open = (model: Uint8Array, hostNodes: readonly string[]) =>
    oneAtATime(async () => {
      const session = await openSession(module, model, (options) => useGpu(module, device, options, hostNodes));
      module.webgpuOnCreateSession(session);
      return session;
    });
  const gpu: Gpu = { module, device, session: await open(oneIdentity(), []) };
  return {
    description,
    weights: 'packed',
    zeros: (dtype, shape, isForm = false) =>
      isForm || dtype === 'float32' ? new GpuTensor(gpu, dtype, shape) : new WasmTensor(module, dtype, shape),
    open: async (model, hostNodes) => new WasmSession(module, await open(model, hostNodes), afterRun, oneAtATime),
    copyBox(from, to, box) {
      if (!(from instanceof GpuTensor && to instanceof GpuTensor)) return;
      const encoder = device.createCommandEncoder();
      copyRuns(from.shape, to.shape, box, byteLength(from.dtype, 1), (at, into, run) =>
        encoder.copyBufferToBuffer(from.buffer, at, to.buffer, into, run),
      );
      device.queue.submit([encoder.finish()]);
    },
  };
}

/** A model that gives back what it gets. */
function oneIdentity(): Uint8Array {
  const graph = new GraphBuilder('device');
  graph.input('x', 'float32', [1]);
  graph.node('Identity', ['x'], { outputs: 'y' });
  graph.output('y', 'float32', [1]);
  return encodeModel(graph, {});
}

async function useGpu(
  module: GpuModule,
  device: GPUDevice,
  options: Pointer,
  hostNodes: readonly string[],
): Promise<void> {
  const [id, instance, handle] = module.webgpuRegisterDevice(device);
  const settings = {
    deviceId: id,
    webgpuInstance: instance,
    webgpuDevice: handle,
    ...(hostNodes.length > 0 && { forceCpuNodeNames: hostNodes.join('\n') }),
  };
  const texts = Object.entries(settings).flatMap(([key, value]) => [key, String(value)]);
  const count = texts.length / 2;
  const places = texts.map((text) => placeText(module, text));
  const table = allocate(module, 8 * count);
  for (const [i, place] of places.entries())
    module.setValue(table + 4 * (i % 2 === 0 ? i / 2 : count + (i - 1) / 2), place, '*');
  const name = placeText(module, 'WebGPU');
  try {
    const status = await module._OrtAppendExecutionProvider(options, name, table, table + 4 * count, count);
    check(module, status, 'use WebGPU');
  } finally {
    for (const place of [...places, table, name]) module._free(place);
  }
}
