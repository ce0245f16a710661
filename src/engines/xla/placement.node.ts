// Where an engine's arrays lie: on one device, or divided over those devices of a mesh that this process drives.
import type { DType, HostArray } from '../../tensor/index.ts';
import { byteLength, countOf, LfmError, newHostArray } from '../../tensor/index.ts';
import type { Sharding } from '../engine.ts';
import type { DeviceBuffer } from './buffer.node.ts';
import type { Client } from './client.node.ts';
import type { DeviceArray } from './device-array.node.ts';
import type { Device, MemoryStats } from './device.node.ts';
import type { Executable } from './executable.node.ts';
import { isFourBit, packNibbles, unpackNibbles } from './elements.ts';
import type { Mesh, Part } from './mesh.ts';
import { checkMesh, checkSharding, cutPart, deviceCountOf, joinPart, meshText, partOf, partsOf } from './mesh.ts';

export class Placement {
  /** Without axes: one device. */
  readonly mesh: Mesh;
  /** Ids of the mesh's devices in its order, those of other processes among them. */
  readonly deviceIds: readonly number[];
  private readonly client: Client;
  /** This process's devices with their places in the mesh. */
  private readonly own: readonly { readonly device: Device; readonly index: number }[];

  /** Errors: `bad-mesh`; `engine-absent` where the plug-in shows no device. */
  constructor(client: Client, mesh: Mesh = {}) {
    const [first] = client.addressableDevices;
    if (!first)
      throw new LfmError(
        'engine-absent',
        `The plug-in ${client.pluginPath} shows no device: its hardware is not there.`,
      );
    const all = client.devices.map((device) => ({ device, id: device.id })).toSorted((a, b) => a.id - b.id);
    checkMesh(mesh, all.length);
    const count = deviceCountOf(mesh);
    const chosen = count === 1 ? [{ device: first, id: first.id }] : all.slice(0, count);
    this.client = client;
    this.mesh = mesh;
    this.deviceIds = chosen.map(({ id }) => id);
    this.own = chosen.map(({ device }, index) => ({ device, index })).filter(({ device }) => device.addressable);
    if (this.own.length === 0)
      throw new LfmError('bad-mesh', `The mesh ${meshText(mesh)} has no device of process ${client.processIndex}.`);
  }

  /** The device that stands for all in what is told to people. */
  get kind(): string {
    return this.own[0]?.device.kind ?? '';
  }

  /** Undefined where the platform keeps none. */
  memoryStats(): MemoryStats[] | undefined {
    try {
      return this.own.map(({ device }) => device.memoryStats());
    } catch (error) {
      if (error instanceof LfmError && error.code === 'xla-unimplemented') return undefined;
      throw error;
    }
  }

  /** Errors: `xla-devices`, freeing a program whose devices are not these in this order: parts would change places unseen. */
  check(program: Executable): Executable {
    const found = program.devicePointers;
    if (found.length === this.own.length && this.own.every(({ device }, at) => device.pointer === found[at]))
      return program;
    program.destroy();
    throw new LfmError(
      'xla-devices',
      `Expected a program for the devices ${this.deviceIds.join(', ')}; it has others.`,
    );
  }

  /** Host memory as one buffer a device, each with its part. Resolves when the memory may change. */
  async put(data: HostArray, dtype: DType, shape: readonly number[], sharding?: Sharding): Promise<DeviceBuffer[]> {
    const needed = byteLength(dtype, countOf(shape));
    if (data.byteLength !== needed)
      throw new LfmError('bad-input', `${dtype}[${shape.join(', ')}] takes ${needed} bytes; found ${data.byteLength}.`);
    if (sharding) checkSharding(this.mesh, sharding, shape, 'An array to upload');
    const elements = sharding && wholeElements(data, dtype, countOf(shape));
    const cuts = new Map<string, HostArray>();
    const made: DeviceBuffer[] = [];
    try {
      for (const { device, index } of this.own) {
        const part = sharding && partOf(this.mesh, sharding, shape, index);
        const key = part?.starts.join() ?? '';
        const cut =
          cuts.get(key) ?? (part && elements ? packed(cutPart(elements, shape, part, widthOf(dtype)), dtype) : data);
        cuts.set(key, cut);
        made.push(this.client.put(cut, { dtype, shape: part?.sizes ?? shape, device }));
      }
      await Promise.all(made.map((memory) => memory.sent()));
      return made;
    } catch (error) {
      for (const memory of made) memory.destroy();
      throw error;
    }
  }

  /** An array's elements, joined from its devices. Errors: `not-addressable` where some lie on other processes' devices only. */
  async read({ memories, dtype, shape, sharding }: DeviceArray): Promise<HostArray> {
    const [first] = memories;
    if (!first) throw new LfmError('disposed-buffer', 'The buffer has no memory on this process’s devices.');
    const total = sharding ? partsOf(this.mesh, sharding.axes.flat()) : 1;
    if (!sharding || total === 1) return first.read();
    const parts = new Map<string, { part: Part; memory: DeviceBuffer }>();
    this.own.forEach(({ index }, at) => {
      const part = partOf(this.mesh, sharding, shape, index);
      const memory = memories[at];
      if (memory && !parts.has(part.starts.join())) parts.set(part.starts.join(), { part, memory });
    });
    if (parts.size < total)
      throw new LfmError(
        'not-addressable',
        `Process ${this.client.processIndex} holds ${parts.size} of an array's ${total} parts: gather it in a program first.`,
      );
    const whole = new Uint8Array(countOf(shape) * widthOf(dtype));
    await Promise.all(
      Array.from(parts.values(), async ({ part, memory }) =>
        joinPart(whole, shape, part, widthOf(dtype), wholeElements(await memory.read(), dtype, countOf(part.sizes))),
      ),
    );
    return packed(whole, dtype);
  }
}

/** Bytes of an element that can be addressed: 4-bit ones are cut one to a byte. */
function widthOf(dtype: DType): number {
  return byteLength(dtype, 1);
}

function wholeElements(data: HostArray, dtype: DType, count: number): Uint8Array {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return isFourBit(dtype) ? unpackNibbles(bytes, count, dtype === 'int4') : bytes;
}

/** Bytes of whole elements as a host array. */
function packed(elements: Uint8Array<ArrayBuffer>, dtype: DType): HostArray {
  const array = newHostArray(dtype, elements.byteLength / widthOf(dtype));
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  if (isFourBit(dtype)) packNibbles(elements, bytes);
  else bytes.set(elements);
  return array;
}
