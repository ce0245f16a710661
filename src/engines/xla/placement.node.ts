// Where an engine's arrays lie: on one device, or divided over those devices of a mesh that this process drives.
import type { DType, HostArray } from '../../tensor/index.ts';
import { byteLength, countOf, LfmError, newHostArray } from '../../tensor/index.ts';
import type { Part } from '../../tensor/part.ts';
import { cutPart, joinPart } from '../../tensor/part.ts';
import type { BufferPart, Sharding } from '../engine.ts';
import type { DeviceBuffer } from './buffer.node.ts';
import type { Client } from './client.node.ts';
import type { DeviceArray } from './device-array.node.ts';
import type { Device, MemoryStats } from './device.node.ts';
import type { Executable } from './executable.node.ts';
import { isFourBit, packNibbles, unpackNibbles } from './elements.ts';
import type { Mesh } from './mesh.ts';
import { checkMesh, checkSharding, deviceCountOf, meshText, partOf } from './mesh.ts';

/** Host memory of blocks that may be on their way to devices at once, besides the last, in bytes. */
const UNDER_WAY_BYTES = 2 ** 28;

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
    requireBytes(data, dtype, shape);
    if (!sharding) return this.putParts(dtype, shape, undefined, () => data);
    const elements = wholeElements(data, dtype, countOf(shape));
    return this.putParts(dtype, shape, sharding, (part) =>
      packed(cutPart(elements, shape, part, widthOf(dtype)), dtype),
    );
  }

  /** As `put`, asking for each part that this process's devices hold, once, when its turn comes. */
  async putParts(
    dtype: DType,
    shape: readonly number[],
    sharding: Sharding | undefined,
    read: (part: Part) => HostArray | Promise<HostArray>,
  ): Promise<DeviceBuffer[]> {
    if (sharding) checkSharding(this.mesh, sharding, shape, 'An array to upload');
    const made = new Map<number, DeviceBuffer>();
    let underWay: DeviceBuffer[] = [];
    let bytes = 0;
    const sent = async (): Promise<void> => {
      await Promise.all(underWay.map((memory) => memory.sent()));
      [underWay, bytes] = [[], 0];
    };
    try {
      for (const { part, devices } of this.divided(shape, sharding)) {
        const own = this.own.filter(({ index }) => devices.includes(index));
        if (own.length === 0) continue;
        const data = await read(part);
        requireBytes(data, dtype, part.sizes);
        for (const { device, index } of own) {
          const memory = this.client.put(data, { dtype, shape: part.sizes, device });
          made.set(index, memory);
          underWay.push(memory);
        }
        bytes += data.byteLength;
        if (bytes > UNDER_WAY_BYTES) await sent();
      }
      await sent();
      return this.own.flatMap(({ index }) => made.get(index) ?? []);
    } catch (error) {
      for (const memory of made.values()) memory.destroy();
      throw error;
    }
  }

  /** The blocks that make up an array, those of other processes among them. */
  parts({ memories, dtype, shape, sharding }: DeviceArray): BufferPart[] {
    return this.divided(shape, sharding).map(({ part, devices }) => ({
      ...part,
      devices,
      read: async (device, into) => {
        const at = this.own.findIndex(({ index }) => index === device);
        const memory = devices.includes(device) ? memories[at] : undefined;
        if (memory) return memory.read(into);
        throw new LfmError(
          'not-addressable',
          `Process ${this.client.processIndex} cannot read ${dtype}[${part.sizes.join(', ')}] from device ${device} of the mesh.`,
        );
      },
    }));
  }

  /** An array's elements, joined from its devices. Errors: `not-addressable` where some lie on other processes' devices only. */
  async read(array: DeviceArray): Promise<HostArray> {
    const { memories, dtype, shape } = array;
    const [first] = memories;
    if (!first) throw new LfmError('disposed-buffer', 'The buffer has no memory on this process’s devices.');
    const parts = this.parts(array);
    if (parts.length === 1) return first.read();
    const held = parts.map(({ devices }) => devices.find((device) => this.own.some(({ index }) => index === device)));
    const missing = held.filter((device) => device === undefined).length;
    if (missing > 0) {
      throw new LfmError(
        'not-addressable',
        `Process ${this.client.processIndex} holds ${parts.length - missing} of an array's ${parts.length} parts: gather it in a program first.`,
      );
    }
    const whole = new Uint8Array(countOf(shape) * widthOf(dtype));
    await Promise.all(
      parts.map(async (part, at) => {
        const elements = wholeElements(await part.read(held[at] ?? 0), dtype, countOf(part.sizes));
        joinPart(whole, shape, part, widthOf(dtype), elements);
      }),
    );
    return packed(whole, dtype);
  }

  /** The distinct parts of an array and the devices of the mesh that hold each, by the first of them. */
  private divided(shape: readonly number[], sharding: Sharding | undefined) {
    const found = new Map<string, { readonly part: Part; readonly devices: number[] }>();
    for (const device of this.deviceIds.keys()) {
      const part = sharding ? partOf(this.mesh, sharding, shape, device) : { starts: shape.map(() => 0), sizes: shape };
      const key = part.starts.join();
      const known = found.get(key);
      if (known) known.devices.push(device);
      else found.set(key, { part, devices: [device] });
    }
    return [...found.values()];
  }
}

function requireBytes(data: HostArray, dtype: DType, shape: readonly number[]): void {
  const needed = byteLength(dtype, countOf(shape));
  if (data.byteLength === needed) return;
  throw new LfmError('bad-input', `${dtype}[${shape.join(', ')}] takes ${needed} bytes; found ${data.byteLength}.`);
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
