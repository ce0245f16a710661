// Checkpoints of a run: RUN/step-N, each a model folder, or an adapter's without its base, with the optimizer's moments and the
// trainer's place, written whole or not at all; the newest whole one is where a run goes on. Devices of a mesh each write and read their parts.
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import type { LoaderCursor } from '../data/loader.ts';
import type { WriteFs } from '../files/atomic.node.ts';
import { writeFolderAtomic } from '../files/atomic.node.ts';
import type { ModelFolder } from '../files/folder.node.ts';
import { openModelFolder } from '../files/folder.node.ts';
import { readJsonIfPresent, readTextIfPresent } from '../files/json.node.ts';
import { hashing, MANIFEST_NAME, verifyManifest } from '../files/manifest.node.ts';
import { openParts, partsIndexName } from '../files/parts.node.ts';
import { openSafetensors } from '../files/safetensors.node.ts';
import type { TensorReader } from '../files/safetensors.node.ts';
import { addAdapterFiles } from '../generate/adapter-folder.node.ts';
import type { Model } from '../liquid/index.ts';
import type { ParameterReader } from '../models/index.ts';
import { checkpointNames } from '../models/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { Part } from '../tensor/part.ts';
import type { Division, TrainedParts } from './model-folder.node.ts';
import { addAdapterMoments, addModelFiles, addMoments } from './model-folder.node.ts';
import type { Recipe } from './recipe.ts';
import { parseRecipe } from './recipe.ts';

/** 1: whole arrays. 2: also in parts, as a mesh's devices hold them. */
const TRAINER_VERSION = 2;
/** Newer than this program: nothing to pass over for an older checkpoint. */
const newerCodes: readonly string[] = ['trainer-version', 'parts-version', 'manifest-version'];

const count = z.number().int().min(0);

const trainerSchema = z.object({
  format: z.literal('lfm-trainer'),
  version: z.literal([1, TRAINER_VERSION]),
  step: count,
  /** Length of metrics.jsonl up to this step, in bytes. */
  metricsBytes: count,
  best: z.object({ step: count, bitsPerByte: z.number() }).nullable(),
  before: z.object({ natsPerToken: z.number(), bitsPerByte: z.number() }).optional(),
  base: z.string().optional(),
  cursor: z.object({
    version: z.literal(1),
    seed: count,
    length: count,
    sources: z.array(
      z.object({
        name: z.string(),
        fingerprint: z.string(),
        weight: z.number(),
        epoch: count,
        position: count,
        taken: count,
      }),
    ),
  }),
});

/** trainer.json: where a run stood. */
export interface TrainerState {
  readonly step: number;
  readonly metricsBytes: number;
  /** The best held-out measure so far. */
  readonly best: { readonly step: number; readonly bitsPerByte: number } | null;
  /** Of an adapter: the held-out measure of its base. */
  readonly before?: { readonly natsPerToken: number; readonly bitsPerByte: number } | undefined;
  /** Of an adapter: the digest of its base. */
  readonly base?: string | undefined;
  readonly cursor: LoaderCursor;
}

export interface CheckpointParts extends TrainedParts {
  readonly recipe: Recipe;
  readonly state: TrainerState;
  /** What a tensor is made up of, by key; given where devices share the tensors, which then are written in parts. */
  readonly parts?: Division['parts'] | undefined;
  /** Where an adapter is trained: the checkpoint that it changes, of which nothing is written. */
  readonly base?: Pick<ParameterReader, 'rowsIn'> | undefined;
}

export interface Checkpoint extends AsyncDisposable {
  readonly path: string;
  readonly recipe: Recipe;
  readonly state: TrainerState;
  readonly tokenizerJson: string;
  /** Reads a parameter or moment by key, or a block of it; undefined where the checkpoint has no such tensor. */
  reader(key: string): ((part?: Part) => Promise<Float32Array>) | undefined;
  /** Errors: `checkpoint-model` where the tensors that are trained are not the checkpoint's. */
  check(model: Model): void;
  close(): Promise<void>;
}

/** Writes RUN/step-N and, once it is whole, removes all but the newest `keep`. Returns its path. Errors: those of writeFolderAtomic; `not-finite`. */
export async function writeCheckpoint(
  run: string,
  parts: CheckpointParts,
  keep: number,
  fs?: WriteFs,
): Promise<string> {
  const { state, recipe } = parts;
  const division = parts.parts && { parts: parts.parts, id: identityOf(parts) };
  const path = join(run, `step-${state.step}`);
  await writeFolderAtomic(
    path,
    async (folder) => {
      if (parts.base) {
        await addAdapterFiles(folder, { ...parts, parameters: parts.base });
        await addAdapterMoments(folder, parts);
        await folder.file('tokenizer.json', parts.vocabulary.json);
      } else {
        await addModelFiles(folder, parts, 'float32', { division });
        await addMoments(folder, parts, division);
      }
      await folder.file('recipe.json', `${JSON.stringify(recipe, undefined, 2)}\n`);
      const trainer = { format: 'lfm-trainer', version: division ? TRAINER_VERSION : 1, ...state };
      await folder.file('trainer.json', `${JSON.stringify(trainer, undefined, 2)}\n`);
    },
    fs,
  );
  for (const step of (await checkpointSteps(run)).slice(keep)) await removeCheckpoint(join(run, `step-${step}`));
  return path;
}

/** Of a run at a step: the same for all who write a part of it. */
function identityOf({ recipe, vocabulary, state: { step, cursor } }: CheckpointParts): string {
  return hashing()
    .update(JSON.stringify([recipe, vocabulary.hash, step, cursor]))
    .digest('hex');
}

/** Steps that RUN has a folder for, the newest first; whether each is whole is not known yet. */
export async function checkpointSteps(run: string): Promise<number[]> {
  const names = await readdir(run).catch(() => []);
  const steps = names.flatMap((name) => {
    const [, digits] = /^step-(\d{1,15})$/.exec(name) ?? [];
    return digits === undefined ? [] : [Number(digits)];
  });
  return steps.sort((a, b) => b - a);
}

/** The manifest goes first: a folder half removed is none that a run could go on from. */
async function removeCheckpoint(path: string): Promise<void> {
  await rm(join(path, MANIFEST_NAME), { force: true });
  await rm(path, { recursive: true, force: true });
}

/**
 * The newest checkpoint whose files are all what its manifest says, or undefined where the run has none at all; `onDamaged`
 * hears of those passed over. Errors: `no-whole-checkpoint` where there are some, and every one is damaged; `…-version` where
 * the newest is a newer program's.
 */
export async function newestCheckpoint(
  run: string,
  onDamaged: (path: string, why: string) => void,
): Promise<Checkpoint | undefined> {
  const steps = await checkpointSteps(run);
  let last = '';
  for (const step of steps) {
    const path = join(run, `step-${step}`);
    try {
      return await openCheckpoint(path);
    } catch (error) {
      if (!(error instanceof LfmError) || newerCodes.includes(error.code)) throw error;
      last = error.message;
      onDamaged(path, error.message);
    }
  }
  if (steps.length === 0) return undefined;
  throw new LfmError(
    'no-whole-checkpoint',
    `No checkpoint in ${run} is whole, so there is nothing to go on from: ${last}`,
  );
}

/** Errors: `manifest-…` for files that are missing, cut short or changed; `trainer-invalid`, `trainer-version`; those of openModelFolder. */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  const names = new Set((await verifyManifest(path)).map(({ name }) => name));
  const state = parseState(await readJsonIfPresent(join(path, 'trainer.json')), path);
  const folder = names.has('adapter_config.json') ? undefined : await openModelFolder(path);
  try {
    const index = partsIndexName('optimizer');
    const moments = names.has(index)
      ? await openParts(join(path, index))
      : await openSafetensors(join(path, 'optimizer.safetensors'));
    try {
      return await readCheckpoint(path, folder, moments, state);
    } catch (error) {
      await moments.close();
      throw error;
    }
  } catch (error) {
    await folder?.weights.close();
    throw error;
  }
}

async function readCheckpoint(
  path: string,
  folder: ModelFolder | undefined,
  moments: TensorReader,
  state: TrainerState,
): Promise<Checkpoint> {
  const recipePath = join(path, 'recipe.json');
  const recipe = parseRecipe(await readJsonIfPresent(recipePath), recipePath);
  const tokenizerJson = await readTextIfPresent(join(path, 'tokenizer.json'));
  if (tokenizerJson === undefined) throw new LfmError('trainer-invalid', `${path} has no tokenizer.json.`);
  const nameOf = folder ? checkpointNames(folder.config) : (key: string) => key;
  const files = [...(folder ? [folder.weights] : []), moments];
  // Under its own name too: so the weights stood before a checkpoint's names were its model's.
  const holding = (key: string): { readonly file: TensorReader; readonly name: string } | undefined =>
    [nameOf(key), key]
      .flatMap((name) => files.map((file) => ({ file, name })))
      .find(({ file, name }) => file.tensors.has(name));
  const close = async (): Promise<void> => {
    await Promise.all(files.map((file) => file.close()));
  };
  return {
    path,
    recipe,
    state,
    tokenizerJson,
    reader(key) {
      const held = holding(key);
      return held && ((part) => held.file.readFloat32(held.name, part));
    },
    check(model) {
      for (const [name, { shape, frozen }] of Object.entries(model.parameters)) {
        if (frozen) continue;
        for (const key of [name, `first.${name}`, `second.${name}`]) {
          const held = holding(key);
          const found = held?.file.tensors.get(held.name)?.shape;
          if (found?.join() === shape.join()) continue;
          throw new LfmError(
            'checkpoint-model',
            `${path}: the recipe's model has ${key} as [${shape.join(', ')}], the checkpoint ${found ? `as [${found.join(', ')}]` : 'not at all'}: go on with the recipe that the run began with.`,
          );
        }
      }
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

function parseState(value: unknown, path: string): TrainerState {
  const version = typeof value === 'object' && value !== null && 'version' in value ? value.version : undefined;
  if (typeof version === 'number' && version > TRAINER_VERSION) {
    throw new LfmError(
      'trainer-version',
      `${path}/trainer.json has version ${version}; this program reads up to ${TRAINER_VERSION}: update lfm.`,
    );
  }
  const result = trainerSchema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new LfmError(
    'trainer-invalid',
    `${path}/trainer.json: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not a trainer state'}.`,
    { cause: result.error },
  );
}
