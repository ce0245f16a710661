// lfm benchmark train --engine xla: which shape, and what the devices did with it.
import { readFile } from 'node:fs/promises';
import { openSafetensors } from '../files/safetensors.node.ts';
import { resolveModel } from '../generate/source.node.ts';
import type { Model } from '../liquid/index.ts';
import type { Lfm2Config } from '../models/index.ts';
import { fromHuggingFace, lfm2 } from '../models/lfm2.ts';
import { layersAttending, lfm2Configs } from '../models/lfm2-sizes.ts';
import { LfmError } from '../tensor/error.ts';
import type { DeviceBenchmark } from '../train/benchmark-device.node.ts';
import { benchmarkDevices } from '../train/benchmark-device.node.ts';
import { benchmarkShape } from '../train/benchmark.node.ts';
import { formatBytes, formatTable } from './format.node.ts';
import type { Io } from './io.node.ts';
import type { EngineFlags } from './options.node.ts';

export interface DeviceFlags extends EngineFlags {
  readonly json?: boolean;
  readonly steps?: number;
  readonly batch?: number;
  readonly length?: number;
  readonly shape?: string;
  readonly dtype?: 'float32' | 'bfloat16';
  readonly recompute?: boolean;
  readonly deterministic?: boolean;
  readonly weights?: string;
  readonly tokens?: string;
}

/** Here and not in files, so that one bundled file can be timed on a bare machine. */
const shapes: Readonly<Record<string, Lfm2Config>> = {
  '28m': benchmarkShape,
  '350m': lfm2Configs['lfm2-350m'],
  tiny: {
    ...benchmarkShape,
    vocabSize: 256,
    hiddenSize: 64,
    intermediateSize: 128,
    layerTypes: layersAttending(3, [1]),
    numAttentionHeads: 4,
    numKeyValueHeads: 2,
  },
};

async function modelOf(name: string): Promise<Model> {
  if (Object.hasOwn(shapes, name)) return lfm2(shapes[name] ?? benchmarkShape);
  if (name.endsWith('.json')) {
    const config: unknown = JSON.parse(await readFile(name, 'utf8'));
    return lfm2(fromHuggingFace(config));
  }
  const resolved = await resolveModel(name);
  if (resolved.kind === 'definition') return resolved.entry.model();
  throw new LfmError(
    'bad-option',
    `--shape: expected ${Object.keys(shapes).join(', ')}, a definition such as lfm2-350m, or the path of a config.json; found "${name}".`,
  );
}

export async function reportDeviceTraining(io: Io, flags: DeviceFlags): Promise<void> {
  const { shape = '350m', batch = 8, length = 2048, steps = 20, dtype = 'bfloat16', recompute = false } = flags;
  const { plugin, mesh, deterministic, json } = flags;
  await using checkpoint = flags.weights === undefined ? undefined : await openSafetensors(flags.weights);
  const ids = flags.tokens === undefined ? undefined : await readIds(flags.tokens);
  const found = await benchmarkDevices({
    ...(checkpoint && { start: (name: string) => checkpoint.readFloat32(name) }),
    ...(ids && { tokens: (step: number) => idsOf(ids, step, batch * (length + 1)) }),
    model: await modelOf(shape),
    batch,
    length,
    steps,
    dtype,
    recompute,
    engine: {
      ...(plugin !== undefined && { plugin }),
      ...(mesh && { mesh }),
      ...(deterministic !== undefined && { deterministic }),
    },
  });
  io.stdout.write(json ? `${JSON.stringify({ shape, ...found }, undefined, 2)}\n` : textOf(shape, found));
}

/** Little-endian int32 token ids. */
async function readIds(path: string): Promise<Int32Array> {
  const { buffer, byteOffset, byteLength } = await readFile(path);
  return new Int32Array(buffer.slice(byteOffset, byteOffset + byteLength - (byteLength % 4)));
}

function idsOf(ids: Int32Array, step: number, count: number): Int32Array {
  if ((step + 1) * count <= ids.length) return ids.subarray(step * count, (step + 1) * count);
  throw new LfmError(
    'bad-option',
    `--tokens: step ${step} needs ids up to ${(step + 1) * count}; the file has ${ids.length}.`,
  );
}

function textOf(shape: string, found: DeviceBenchmark): string {
  const { losses, measuredBytes, mfu, collectives } = found;
  const rows = [
    ['parameters', String(found.parameters)],
    ['a step', `${found.msPerStep.toFixed(2)} ms, ${found.batch} rows of ${found.length} tokens, ${found.dtype}`],
    ['tokens/s', `${found.tokensPerSecond.toFixed(0)} (${found.tokensPerSecondPerDevice.toFixed(0)} a device)`],
    ['MFU', mfu === undefined ? 'unknown: no peak is known for this device and type' : `${(100 * mfu).toFixed(1)}%`],
    ['compiled in', `${found.compileSeconds.toFixed(1)} s${found.fromCache > 0 ? ', from the cache' : ''}`],
    ['devices wait for host', `${(100 * found.hostShare).toFixed(1)}%`],
    ['memory planned', `${formatBytes(found.plannedBytes)} a device`],
    [
      'memory measured',
      measuredBytes === undefined ? 'the device does not tell' : `${formatBytes(measuredBytes)} a device`,
    ],
    ...Object.entries(collectives).map(([kind, { count, bytes }]) => [
      kind,
      `${count}, ${formatBytes(bytes)} a device`,
    ]),
    ['losses', [losses[0], losses.at(-1)].map((loss) => loss?.toFixed(4)).join(' to ')],
  ];
  return `training ${shape} on ${found.engine}\n${formatTable(['', ''], rows)}`;
}
