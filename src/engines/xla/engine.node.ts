// The xla engine on Node: programs as StableHLO in a PJRT plug-in, compiled once for each binding of their symbols.
import { join } from 'node:path';
import { host } from '#host';
import type { ArrayType, DType, HostArray, Program, Tensor } from '../../tensor/index.ts';
import {
  byteLength,
  countOf,
  dynamicSlice,
  dynamicUpdateSlice,
  evaluateShape,
  newHostArray,
  reshape,
  sliceAxis,
  symbolsOf,
  trace,
  zeros as zerosOf,
} from '../../tensor/index.ts';
import { checkBox } from '../copy.ts';
import type { Box, Buffer, CompileOptions, Engine, Sharding } from '../engine.ts';
import { ExecutableCache } from './cache.node.ts';
import { cudaMajorOf } from './cuda.node.ts';
import { arrayOf, DeviceArray } from './device-array.node.ts';
import type { MemoryStats } from './device.node.ts';
import type { Executable as Loaded } from './executable.node.ts';
import type { FoundPlugin } from './find.node.ts';
import { findPlugin } from './find.node.ts';
import type { Mesh } from './mesh.ts';
import { checkMesh, checkSharding, deviceCountOf, meshText } from './mesh.ts';
import type { NamedValues } from './named-values.node.ts';
import { Placement } from './placement.node.ts';
import { openPlugin } from './plugin.node.ts';
import type { Shared, Shardings, XlaExecutable } from './specialisations.node.ts';
import { Specialisations } from './specialisations.node.ts';
import { toStableHlo } from './stablehlo.ts';
import { isPluginName } from './wheels.ts';

export interface XlaOptions {
  /** `xla-cpu`, `xla-cuda12`, `xla-cuda13`, or the path of a plug-in's library. Default: the best that is found. */
  readonly plugin?: string;
  /** Share of a GPU's memory to take, at once, for good. */
  readonly memoryFraction?: number;
  /**
   * Devices to divide arrays and programs over, by axis; default: one device. Where several processes share a plug-in's
   * devices, every one gives the same mesh, over all of them.
   */
  readonly mesh?: Mesh;
  /** Devices that the CPU plug-in shows, by default as many as the mesh takes; other plug-ins show what is there. */
  readonly cpuDevices?: number;
  /** Composites to cuDNN's kernels where they fit; default: on NVIDIA. */
  readonly mapped?: boolean;
  /** The same bits from the same inputs on the same device, run after run, at some cost in speed. CPUs give them anyway. */
  readonly deterministic?: boolean;
  /** XLA flags for every compilation, without `--`. */
  readonly flags?: Readonly<Record<string, string | number | boolean>>;
  /** Where compiled programs are kept; default: `xla` in the cache folder. Null: nowhere. */
  readonly cacheFolder?: string | null;
  /** Programs that compile faster than this are not worth a file. */
  readonly cacheFromMs?: number;
}

export interface XlaEngine extends Engine {
  compile(program: Program, options?: CompileOptions): Promise<XlaExecutable>;
  /** 'cpu', 'cuda', … */
  readonly platform: string;
  /** `kind`: 'cpu', 'NVIDIA H100 80GB HBM3', … */
  readonly device: NonNullable<Engine['device']>;
  /** Of each device that this process drives; undefined where the platform keeps no statistics (the CPU). */
  memoryStats(): readonly MemoryStats[] | undefined;
  /** Undefined for one device, where shardings are ignored. */
  readonly mesh: Mesh | undefined;
  /** Programs compiled, and those loaded from disk instead, since the engine was opened. */
  counts(): { readonly compiled: number; readonly loaded: number };
}

/**
 * Set for NVIDIA before the plug-in loads: without Triton's matrix products a training step compiles in half the time and
 * runs no slower.
 */
const cudaFlags = ['--xla_gpu_enable_triton_gemm=false'];

/**
 * On a CPU this engine is there to test what other platforms run (the onnx engine is faster): a training step compiles
 * about ten times faster without LLVM's optimiser and the fusion emitters. And no NaN may be lost in a maximum.
 */
const cpuFlags = {
  xla_backend_optimization_level: 0,
  xla_cpu_use_fusion_emitters: false,
  xla_cpu_enable_fast_min_max: false,
  // XNNPACK keeps packed weights by their address, which a donated buffer shares with the next step's: wrong gradients.
  xla_cpu_use_xnnpack: false,
};

/** Activations are rounded where the program says: 1.3% faster on an H100 than leaving it to XLA, and what others compute. */
const gpuFlags = { xla_allow_excess_precision: false };

/** Over a mesh: collectives behind what can be computed meanwhile, joined to 64 MiB (2 H100s: 0.929 to 0.947 of one's speed). */
const meshFlags = {
  xla_gpu_enable_latency_hiding_scheduler: true,
  xla_gpu_all_reduce_combine_threshold_bytes: 2 ** 26,
  xla_gpu_all_gather_combine_threshold_bytes: 2 ** 26,
  xla_gpu_reduce_scatter_combine_threshold_bytes: 2 ** 26,
};

/** Sums in one order, and no choice of kernels by timing. */
const deterministicFlags = { xla_gpu_deterministic_ops: true };

/** Buffers of zeros larger than this are made on the device, smaller ones sent. */
const ZEROS_SENT_BYTES = 1 << 20;

function find(plugin: string | undefined): Promise<FoundPlugin> {
  return plugin === undefined || isPluginName(plugin) ? findPlugin(plugin) : findPlugin(undefined, { path: plugin });
}

function clientOptions({ path, name }: FoundPlugin, { memoryFraction, mesh, ...given }: XlaOptions): NamedValues {
  const cpuDevices = given.cpuDevices ?? (name === 'xla-cpu' && mesh ? deviceCountOf(mesh) : undefined);
  if (cudaMajorOf(path) === undefined) return cpuDevices === undefined ? {} : { cpu_device_count: cpuDevices };
  return memoryFraction === undefined ? {} : { memory_fraction: memoryFraction, preallocate: true };
}

type ReadPart = Parameters<NonNullable<Engine['uploadParts']>>[3];

function isSymbolic(program: Program): boolean {
  return program.inputs.some(({ value }) => value.shape.some((dim) => symbolsOf(dim).length > 0));
}

/**
 * Opens a plug-in's first device, or those of a mesh. A run returns as soon as it is on its way: read or await an output
 * for its end; donated inputs are disposed at once.
 * Errors: `plugin-missing`, saying what to install; `engine-absent` where a plug-in shows no device; `bad-mesh`; what
 * opening one says.
 */
export async function xlaEngine(options: XlaOptions = {}): Promise<XlaEngine> {
  if (options.mesh) checkMesh(options.mesh, Infinity);
  const plugin = await find(options.plugin);
  const cuda = cudaMajorOf(plugin.path) !== undefined;
  const client = await openPlugin(plugin, {
    client: clientOptions(plugin, options),
    xlaFlags: cuda ? cudaFlags : [],
  });
  let placement: Placement;
  try {
    placement = new Placement(client, options.mesh);
  } catch (error) {
    await client.close();
    throw error;
  }
  const mesh = placement.deviceIds.length > 1 ? placement.mesh : undefined;
  const {
    mapped = client.platform === 'cuda',
    deterministic = false,
    cacheFolder = join(host.cacheFolder(), 'xla'),
    cacheFromMs = 1000,
  } = options;
  const flags = {
    ...(client.platform === 'cpu' && cpuFlags),
    ...(client.platform === 'cuda' && {
      ...gpuFlags,
      ...(mesh && meshFlags),
      ...(deterministic && deterministicFlags),
    }),
    ...options.flags,
  };
  const target = mapped ? 'cuda' : 'generic';
  const cache = cacheFolder === null ? undefined : new ExecutableCache(cacheFolder);
  const identity = [
    client.platform,
    client.platformVersion,
    JSON.stringify(client.pluginAttributes, jsonSafe),
    placement.kind,
    placement.deviceIds.join(),
    process.env['XLA_FLAGS'] ?? '',
  ];
  const live = new Set<DeviceArray>();
  const makers = new Map<string, Promise<XlaExecutable>>();
  let [compiled, loaded] = [0, 0];

  const fromCache = async (key: string): Promise<Loaded | undefined> => {
    const bytes = await cache?.read(key);
    if (!bytes) return undefined;
    try {
      return placement.check(await client.deserialize(bytes));
    } catch {
      // Of a plug-in that calls itself the same and is not.
      await cache?.remove(key);
      return undefined;
    }
  };

  const shared: Shared = {
    live,
    async compile(program, bindings, shardings) {
      for (const { name, value } of [...program.inputs, ...program.outputs]) {
        const sharding = shardings[name];
        if (mesh && sharding)
          checkSharding(mesh, sharding, evaluateShape(value.shape, bindings), `${program.name}, "${name}"`);
      }
      const { text } = toStableHlo(program, {
        bindings,
        target,
        deterministic,
        ...(mesh && { partition: { mesh, shardings } }),
      });
      const key = [...identity, JSON.stringify(flags), text].join('\n');
      const known = await fromCache(key);
      if (known) {
        loaded++;
        return known;
      }
      const start = performance.now();
      const { deviceIds } = placement;
      const over = mesh && { partitions: deviceIds.length, deviceIds, shardy: true };
      const fresh = placement.check(await client.compile(text, { flags, ...over }));
      compiled++;
      // A full disk, or a plug-in that cannot serialise, costs the next start its time and nothing else.
      if (cache && performance.now() - start >= cacheFromMs) {
        await fresh
          .serialize()
          .then((bytes) => cache.write(key, bytes))
          .catch(() => undefined);
      }
      return fresh;
    },
  };

  const compile = async (program: Program, given: CompileOptions = {}): Promise<XlaExecutable> => {
    const { bind = {}, shardings = {} } = given;
    for (const [name, buffer] of Object.entries(bind)) void arrayOf(buffer, `Bound input "${name}"`).memories;
    const executable = new Specialisations(shared, program, bind, mesh ? shardings : {});
    if (!isSymbolic(program)) await executable.specialise({});
    return executable;
  };

  const upload = async (
    dtype: DType,
    shape: readonly number[],
    data: HostArray,
    sharding?: Sharding,
  ): Promise<DeviceArray> => {
    const division = mesh && sharding;
    const memories = await placement.put(data, dtype, shape, division);
    return new DeviceArray(live, memories, dtype, [...shape], division);
  };

  const { major, minor } = client.apiVersion;
  return {
    name: 'xla',
    description: `xla (${client.platform}, ${placement.kind}${mesh ? ` over ${meshText(mesh)}` : ''}, PJRT ${major}.${minor}, ${plugin.name ?? plugin.path})`,
    platform: client.platform,
    device: { kind: placement.kind, memoryBytes: placement.memoryStats()?.[0]?.bytesLimit },
    memoryStats: () => placement.memoryStats(),
    mesh,
    fusesSteps: true,
    compilesBySize: true,
    keepsOneForm: true,
    counts: () => ({ compiled, loaded }),
    compile,
    upload,
    async download(buffer: Buffer): Promise<HostArray> {
      return placement.read(arrayOf(buffer, 'download'));
    },
    ...(mesh && {
      parts: (buffer: Buffer) => placement.parts(arrayOf(buffer, 'parts')),
      async uploadParts(dtype: DType, shape: readonly number[], sharding: Sharding, read: ReadPart) {
        const memories = await placement.putParts(dtype, shape, sharding, read);
        return new DeviceArray(live, memories, dtype, [...shape], sharding);
      },
    }),
    async zeros(dtype: DType, shape: readonly number[], sharding?: Sharding) {
      const count = countOf(shape);
      if (byteLength(dtype, count) <= ZEROS_SENT_BYTES)
        return upload(dtype, shape, newHostArray(dtype, count), sharding);
      const key = `${dtype}[${shape.join()}] ${JSON.stringify(mesh && sharding?.axes)}`;
      const shardings: Shardings = sharding ? { zeros: sharding } : {};
      const program = trace('zeros', {}, () => ({ zeros: zerosOf(dtype, shape) }));
      const maker = makers.get(key) ?? compile(program, { shardings });
      makers.set(key, maker);
      const { zeros } = await (await maker).run({});
      return arrayOf(zeros, 'zeros');
    },
    async copy(from: Buffer, to: Buffer, box: Box) {
      checkBox(from, to, box);
      const target = arrayOf(to, 'copy');
      const key = `copy ${from.dtype}[${from.shape.join()}] [${to.shape.join()}] [${box.shape.join()}]`;
      const maker = makers.get(key) ?? compile(copyProgram(from, to, box));
      makers.set(key, maker);
      const starts = { fromStart: box.from, toStart: box.to };
      const given: Record<string, DeviceArray> = {};
      for (const [name, start] of Object.entries(starts))
        given[name] = await upload('int32', [start.length], Int32Array.from(start));
      const { to: written } = await (await maker).run({ from, to, ...given });
      for (const start of Object.values(given)) start.dispose();
      target.become(arrayOf(written, 'copy'));
    },
    live: () => ({ buffers: live.size, bytes: [...live].reduce((total, buffer) => total + buffer.byteLength, 0) }),
    close: () => client.close(),
  };
}

/** A box from one array into the other, which gives its memory up to the result. */
function copyProgram(from: Buffer, to: Buffer, { shape }: Box): Program {
  const start: ArrayType = { dtype: 'int32', shape: [shape.length] };
  const types = {
    from: { dtype: from.dtype, shape: from.shape },
    to: { dtype: to.dtype, shape: to.shape },
    fromStart: start,
    toStart: start,
  };
  const parts = (starts: Tensor) => shape.map((_, axis) => reshape(sliceAxis(starts, 0, axis, axis + 1), []));
  return trace(
    'copy',
    types,
    (given) => ({
      to: dynamicUpdateSlice(given.to, dynamicSlice(given.from, parts(given.fromStart), shape), parts(given.toStart)),
    }),
    { donations: { to: 'to' } },
  );
}

function jsonSafe(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
