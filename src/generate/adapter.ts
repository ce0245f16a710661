// A LoRA adapter on an engine: read from a peft folder, checked against the model that it is to change, tensor by tensor.
import type { Buffer, Buffers, Engine } from '../engines/engine.ts';
import type { LowRank, Model } from '../liquid/index.ts';
import { factorNames, withLowRank } from '../liquid/index.ts';
import type { ParameterReader } from '../models/index.ts';
import { peftNames, readPeftConfig } from '../models/peft.ts';
import { LfmError } from '../tensor/index.ts';
import { joined, sha256, toHex } from './digest.ts';
import type { AdapterSource } from './source.ts';
import { disposeBuffers } from './state.ts';

export interface Adapter {
  readonly name: string;
  /** SHA-256 of what it computes with, in hex: equal for equal adapters, whatever they are called. */
  readonly id: string;
  /** The model that it changes, with its factors among the parameters. */
  readonly model: Model;
  /** Adapters of one kind run in the same programs: they change the same matrices by the same ranks. */
  readonly kind: string;
  /** The factors, by the model's names. */
  readonly buffers: Buffers;
}

/** A matrix of the model, and what of the adapter's tensors changes it. */
interface Change {
  readonly parameter: string;
  readonly a: string;
  readonly b: string;
  readonly lowRank: LowRank;
  /** Of B's rows, the first that is the matrix's: a checkpoint may hold several matrices as one. */
  readonly from: number;
}

/**
 * Puts an adapter on an engine. B holds its scale from here on, so that adapters of other scales share programs.
 * Errors: `bad-adapter` for what is damaged or no plain LoRA, `adapter-mismatch`, naming the tensor, for another model's.
 */
export async function loadAdapter(
  engine: Engine,
  model: Model,
  parameters: Pick<ParameterReader, 'rowsIn'>,
  source: AdapterSource,
  name: string,
): Promise<Adapter> {
  const changes = changesOf(model, parameters, source, name);
  const ranks = changes.map(({ parameter, lowRank: { rank } }) => [parameter, { rank, scale: 1 }] as const);
  const adapted = withLowRank(model, Object.fromEntries(ranks));
  const buffers: Record<string, Buffer> = {};
  const hashes: Uint8Array[] = [];
  try {
    for (const { parameter, a, b, lowRank, from } of changes) {
      const names = factorNames(parameter);
      const [rows = 0] = model.parameters[parameter]?.shape ?? [];
      const { rank, scale } = lowRank;
      const part = (await read(source, name, b)).subarray(from * rank, (from + rows) * rank);
      for (const [key, values] of [
        [names.a, await read(source, name, a)],
        [names.b, part.map((value) => value * scale)],
      ] as const) {
        buffers[key] = await engine.upload('float32', adapted.parameters[key]?.shape ?? [], values);
        hashes.push(new TextEncoder().encode(key), await sha256(new Uint8Array(Float32Array.from(values).buffer)));
      }
    }
    return { name, id: toHex(await sha256(joined(hashes))), model: adapted, kind: JSON.stringify(ranks), buffers };
  } catch (error) {
    disposeBuffers(buffers);
    throw error;
  }
}

async function read(source: AdapterSource, name: string, tensor: string): Promise<Float32Array> {
  const values = await source.readFloat32(tensor);
  if (values.every((value) => Number.isFinite(value))) return values;
  throw new LfmError('bad-adapter', `The adapter ${name}: ${tensor} holds numbers that are none: it is damaged.`);
}

/** What the adapter's tensors change; every one must have its place, and all that its list of modules names must be there. */
function changesOf(
  model: Model,
  parameters: Pick<ParameterReader, 'rowsIn'>,
  { config: json, tensors }: AdapterSource,
  name: string,
): readonly Change[] {
  const config = readPeftConfig(json);
  const mismatch = (why: string) =>
    new LfmError(
      'adapter-mismatch',
      `The adapter ${name} does not fit the model: ${why}. Load the model it was made for.`,
    );
  const used = new Set<string>();
  const changes: Change[] = [];
  for (const [parameter, { shape }] of Object.entries(model.parameters)) {
    const place = parameters.rowsIn(parameter);
    if (!place?.tensor.endsWith('.weight')) continue;
    const module = place.tensor.slice(0, -'.weight'.length);
    const { a, b } = peftNames(module);
    if (!tensors.has(a) && !tensors.has(b) && !config.names(module)) continue;
    const lowRank = config.lowRank(module);
    for (const [key, expected] of [
      [a, [lowRank.rank, shape[1] ?? 0]],
      [b, [place.rows, lowRank.rank]],
    ] as const) {
      const found = tensors.get(key)?.shape;
      if (found?.join() !== expected.join())
        throw mismatch(
          `expected ${key} of [${expected.join(', ')}]; found ${found ? `[${found.join(', ')}]` : 'none'}`,
        );
      used.add(key);
    }
    changes.push({ parameter, a, b, lowRank, from: place.from });
  }
  const other = [...tensors.keys()].find((key) => !used.has(key));
  if (other !== undefined) throw mismatch(`there is no matrix for its tensor ${other}`);
  if (changes.length === 0) throw mismatch('it holds no tensors');
  return changes;
}
