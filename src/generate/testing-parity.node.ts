// For tests and the bench: a fixture of tools/oracles/models.py run in three ways, and how far its logits are from transformers'.
// Shapes: B rows, T tokens, V classes.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Buffers, Engine } from '../engines/engine.ts';
import { openSafetensors } from '../files/safetensors.node.ts';
import type { Model } from '../liquid/index.ts';
import { outputProgram, parameterCounts, stepProgram } from '../liquid/index.ts';
import { modelFromConfig, parametersOf } from '../models/index.ts';
import { openSource } from './source.node.ts';
import { disposeBuffers, emptyState } from './state.ts';

export const parityFixtures = new URL('../../test/fixtures/models/', import.meta.url).pathname;

export interface Parity {
  readonly name: string;
  readonly architecture: string;
  readonly parameters: number;
  /** Largest differences of logits, as shares of the range of transformers' own, by way of running. */
  readonly sequence: number;
  readonly tokenByToken: number;
  readonly unequalBatch: number;
  /** Tokens whose logits were compared, in all three. */
  readonly tokens: number;
}

/** Folders of fixtures, by name. */
export async function parityNames(): Promise<string[]> {
  return (await readdir(parityFixtures)).toSorted();
}

/** Loads as a user's folder is loaded, by `openSource`, and compares. `changed`: keys of config.json that are not as stored. */
export async function measureParity(engine: Engine, name: string, changed: object = {}): Promise<Parity> {
  const folder = join(parityFixtures, name);
  const { config: read, weights: stored } = await openSource(folder);
  const config = { ...Object(read), ...changed };
  const shapes = Object.fromEntries([...stored.tensors].map(([key, { shape }]) => [key, shape]));
  const model = modelFromConfig(config, shapes);
  const parameters = parametersOf(model, config, stored, name);
  const buffers: Record<string, Buffers[string]> = {};
  try {
    for (const [key, { shape }] of Object.entries(model.parameters))
      buffers[key] = await engine.upload('float32', shape, await parameters.readFloat32(key));
    await using expected = await openSafetensors(join(folder, 'expected.safetensors'));
    const want = {
      ids: Int32Array.from(await expected.readFloat32('ids')),
      logits: await expected.readFloat32('logits'),
      alone: await expected.readFloat32('alone'),
      batch: await expected.readFloat32('batch'),
    };
    const architecture = String(model.config?.model_type ?? 'unknown');
    const count = parameterCounts(model).total;
    return { name, architecture, parameters: count, ...(await compare(engine, model, buffers, want)) };
  } finally {
    disposeBuffers(buffers);
    await stored.close();
  }
}

/** ids [2, T], logits [2, T, V] of one call, and [S, V] of row 1's first S tokens alone and beside row 0. */
interface Expected {
  readonly ids: Int32Array;
  readonly logits: Float32Array;
  readonly alone: Float32Array;
  readonly batch: Float32Array;
}

async function compare(
  engine: Engine,
  model: Model,
  weights: Buffers,
  { ids, logits, alone, batch }: Expected,
): Promise<Pick<Parity, 'sequence' | 'tokenByToken' | 'unequalBatch' | 'tokens'>> {
  const classes = model.head.classes;
  const length = ids.length / 2;
  const short = batch.length / classes;
  const range = logits.reduce((a, b) => Math.max(a, b)) - logits.reduce((a, b) => Math.min(a, b));
  const share = (found: Float32Array, wanted: Float32Array) => largestDifference(found, wanted) / range;

  const outputsOf = async (rows: number, size: number, given: Int32Array) => {
    const executable = await engine.compile(outputProgram(model, { batch: rows, length: size }));
    const tokens = await engine.upload('int32', [rows, size], given);
    const { outputs } = await executable.run({ ...weights, tokens });
    const found = await floats(engine, outputs);
    disposeBuffers({ tokens, ...(outputs && { outputs }) });
    executable.release();
    return found;
  };
  const sequence = Math.max(
    share(await outputsOf(2, length, ids), logits),
    share(await outputsOf(1, short, ids.slice(length, length + short)), alone),
  );

  const single = await stepper(engine, model, weights, 1, length);
  let tokenByToken = 0;
  for (let t = 0; t < length; t++) {
    const found = await single.feed(Int32Array.of(ids[t] ?? 0, ids[length + t] ?? 0), [1, 1]);
    for (const row of [0, 1]) {
      const at = (row * length + t) * classes;
      const mine = found.subarray(row * classes, (row + 1) * classes);
      tokenByToken = Math.max(tokenByToken, share(mine, logits.subarray(at, at + classes)));
    }
  }
  single.close();

  const both = await stepper(engine, model, weights, length, length);
  const found = await both.feed(ids, [length, short]);
  const [first, second] = [found.subarray(0, length * classes), found.subarray(length * classes)];
  const unequalBatch = Math.max(
    share(first, logits.subarray(0, length * classes)),
    share(second.subarray(0, short * classes), batch),
  );
  both.close();
  return { sequence, tokenByToken, unequalBatch, tokens: 5 * length + 2 * short };
}

/** Two rows whose state goes from each call of T tokens to the next. */
async function stepper(engine: Engine, model: Model, weights: Buffers, length: number, capacity: number) {
  const executable = await engine.compile(stepProgram(model, { batch: 2, length, capacity, allLogits: true }));
  const state = await emptyState(engine, model, 2, capacity);
  return {
    /** Logits [2, T, V] after the first `counts` of each row's tokens [2, T]. */
    async feed(tokens: Int32Array, counts: readonly number[]): Promise<Float32Array> {
      const given = {
        tokens: await engine.upload('int32', [2, length], tokens),
        starts: await engine.upload('int32', [2], state.lengths),
        lengths: await engine.upload('int32', [2], Int32Array.from(counts)),
      };
      const { logits, ...next } = await executable.run({ ...weights, ...state.buffers, ...given });
      state.buffers = next;
      counts.forEach((count, row) => (state.lengths[row] = (state.lengths[row] ?? 0) + count));
      const values = await floats(engine, logits);
      disposeBuffers({ ...given, ...(logits && { logits }) });
      return values;
    },
    close(): void {
      disposeBuffers(state.buffers);
      executable.release();
    },
  };
}

async function floats(engine: Engine, buffer: Buffers[string] | undefined): Promise<Float32Array> {
  const values = buffer ? await engine.download(buffer) : undefined;
  return values instanceof Float32Array ? values : new Float32Array();
}

/** Infinity where there is a number that is none, or another count of them. */
function largestDifference(found: Float32Array, wanted: Float32Array): number {
  if (found.length !== wanted.length) return Infinity;
  return wanted.reduce((most, value, i) => {
    const difference = Math.abs(value - (found[i] ?? Infinity));
    return difference <= most ? most : Number.isNaN(difference) ? Infinity : difference;
  }, 0);
}
