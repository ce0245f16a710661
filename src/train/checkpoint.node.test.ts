// Checkpoints: whole or absent, the newest whole one found, older ones kept until a newer is whole; the lock of a folder.
import * as nodeFs from 'node:fs/promises';
import { readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { BufferPart } from '../engines/engine.ts';
import type { WriteFs } from '../files/atomic.node.ts';
import { openModelFolder } from '../files/folder.node.ts';
import { defineModel, initialise, layer, shortConv, swiglu } from '../liquid/index.ts';
import { trainBpe } from '../text/bpe-train.ts';
import { formatTokenizerJson } from '../text/tokenizer-json-write.ts';
import { checkpointSteps, newestCheckpoint, writeCheckpoint } from './checkpoint.node.ts';
import type { CheckpointParts } from './checkpoint.node.ts';
import { lockFolder } from './lock.node.ts';
import { temporaryFolder, tinyRecipe } from './testing.node.ts';
import { makeVocabulary } from './vocabulary.node.ts';

const model = defineModel({
  vocabSize: 261,
  hiddenSize: 4,
  layers: [layer(shortConv(), swiglu({ intermediateSize: 8 }))],
});
const vocabulary = makeVocabulary(
  formatTokenizerJson(await trainBpe(['a'], { vocabSize: 261 })),
  '<|endoftext|>',
  'test',
);

async function read(key: string): Promise<Float32Array> {
  const parameter = model.parameters[key.replace(/^(first|second)\./, '')];
  if (!parameter) throw new Error(key);
  return initialise({ parameters: { [key]: { ...parameter, init: { std: 1 } } } }, 1)[key] ?? new Float32Array(0);
}

function partsAt(step: number, changes: Partial<CheckpointParts> = {}): CheckpointParts {
  const cursor = { version: 1 as const, seed: 0, length: 16, sources: [] };
  return {
    model,
    vocabulary,
    read,
    recipe: tinyRecipe(),
    state: { step, cursor, metricsBytes: 10 * step, best: null },
    ...changes,
  };
}

/** Two devices that hold copies, and so each write some of the tensors. */
function parts(key: string): BufferPart[] {
  const shape = model.parameters[key.replace(/^(first|second)\./, '')]?.shape ?? [];
  return [{ starts: shape.map(() => 0), sizes: shape, devices: [0, 1], read: () => read(key) }];
}

const noNews = (path: string): void => expect.fail(`${path} was passed over`);

describe('checkpoints', () => {
  it('come back as they were written', async () => {
    const run = await temporaryFolder();
    const path = await writeCheckpoint(run, partsAt(5), 2);
    expect((await readdir(path)).sort()).toEqual([
      'config.json',
      'generation_config.json',
      'manifest.json',
      'model.safetensors',
      'optimizer.safetensors',
      'recipe.json',
      'tokenizer.json',
      'tokenizer_config.json',
      'trainer.json',
    ]);
    await using checkpoint = await newestCheckpoint(run, noNews);
    expect(checkpoint).toMatchObject({ path, recipe: tinyRecipe(), state: { step: 5, metricsBytes: 50, best: null } });
    for (const name of Object.keys(model.parameters)) {
      for (const key of [name, `first.${name}`, `second.${name}`])
        expect(await checkpoint?.reader(key)?.()).toEqual(await read(key));
    }
    expect(checkpoint?.reader('other')).toBeUndefined();
    checkpoint?.check(model);
    const wider = defineModel({ vocabSize: 261, hiddenSize: 8, layers: model.layers });
    expect(() => checkpoint?.check(wider)).toThrow(expect.objectContaining({ code: 'checkpoint-model' }));
    const folder = await openModelFolder(path);
    expect(folder.config).toMatchObject({
      model_type: 'lfm2',
      layer_types: ['conv'],
      eos_token_id: 2,
      dtype: 'float32',
    });
    await folder.weights.close();
  });

  it('are removed only when enough newer ones are whole', async () => {
    const run = await temporaryFolder();
    for (const step of [2, 10, 4]) await writeCheckpoint(run, partsAt(step), 2);
    expect(await checkpointSteps(run)).toEqual([10, 4]);
    await writeCheckpoint(run, partsAt(12), 1);
    expect(await checkpointSteps(run)).toEqual([12]);
  });

  it('that are damaged are passed over for an older one, and refused where none is whole', async () => {
    const run = await temporaryFolder();
    for (const step of [1, 2, 3]) await writeCheckpoint(run, partsAt(step), 3);
    await truncate(join(run, 'step-3', 'model.safetensors'), 100);
    const bytes = await readFile(join(run, 'step-2', 'optimizer.safetensors'));
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    await writeFile(join(run, 'step-2', 'optimizer.safetensors'), bytes);
    const passed: string[] = [];
    const checkpoint = await newestCheckpoint(run, (path, why) => passed.push(`${path.slice(-6)}: ${why}`));
    expect(checkpoint?.state.step).toBe(1);
    await checkpoint?.close();
    expect(passed).toEqual([expect.stringContaining('step-3: '), expect.stringContaining('step-2: ')]);
    expect(passed[0]).toContain('model.safetensors has 100 bytes');
    expect(passed[1]).toContain('SHA-256');
    await nodeFs.rm(join(run, 'step-1', 'trainer.json'));
    await expect(newestCheckpoint(run, () => {})).rejects.toMatchObject({ code: 'no-whole-checkpoint' });
  });

  it('of a newer version ask for an update', async () => {
    const run = await temporaryFolder();
    const path = await writeCheckpoint(run, partsAt(1), 1);
    const file = join(path, 'trainer.json');
    const newer = (await readFile(file, 'utf8')).replace('"version": 1,\n  "step"', '"version": 3,\n  "step"');
    await writeFile(file, newer);
    const { hashing } = await import('../files/manifest.node.ts');
    const manifest = JSON.parse(await readFile(join(path, 'manifest.json'), 'utf8')) as {
      files: { name: string; sha256: string; bytes: number }[];
    };
    for (const entry of manifest.files)
      if (entry.name === 'trainer.json')
        Object.assign(entry, { bytes: newer.length, sha256: hashing().update(newer).digest('hex') });
    await writeFile(join(path, 'manifest.json'), JSON.stringify(manifest));
    await expect(newestCheckpoint(run, noNews)).rejects.toMatchObject({ code: 'trainer-version' });
  });

  it('in parts come back as they were written, and say so by their version', async () => {
    const run = await temporaryFolder();
    const path = await writeCheckpoint(run, partsAt(5, { parts }), 2);
    expect((await readdir(path)).filter((name) => /^(model|optimizer)/.test(name))).toEqual(
      ['model', 'optimizer'].flatMap((stem) => [
        `${stem}-part-00000.safetensors`,
        `${stem}-part-00001.safetensors`,
        `${stem}.parts.json`,
      ]),
    );
    expect(await readFile(join(path, 'trainer.json'), 'utf8')).toContain('"version": 2');
    await using checkpoint = await newestCheckpoint(run, noNews);
    checkpoint?.check(model);
    for (const name of Object.keys(model.parameters)) {
      for (const key of [name, `first.${name}`, `second.${name}`])
        expect(await checkpoint?.reader(key)?.()).toEqual(await read(key));
    }
    const bad = (key: string) =>
      parts(key).map((part) => ({ ...part, read: async () => (await read(key)).fill(Infinity) }));
    await expect(writeCheckpoint(run, partsAt(6, { parts: bad }), 1)).rejects.toMatchObject({ code: 'not-finite' });
    expect(await readdir(run)).toEqual(['step-5']);
  });

  it.each(['whole', 'in parts'])('%s are not lost to a full disk, wherever it fills up', async (how) => {
    const run = await temporaryFolder();
    const changes = how === 'whole' ? {} : { parts };
    await writeCheckpoint(run, partsAt(1, changes), 1);
    const before = await contentsOf(join(run, 'step-1'));
    let failures = 0;
    for (let allowed = 0; ; allowed++) {
      const error: unknown = await writeCheckpoint(run, partsAt(2, changes), 1, fillingFs(allowed)).catch(
        (reason: unknown) => reason,
      );
      if (typeof error === 'string') break;
      failures++;
      expect(error).toMatchObject({ code: 'disk-full' });
      expect(await contentsOf(join(run, 'step-1'))).toEqual(before);
      expect(await readdir(run)).toEqual(['step-1']);
    }
    expect(failures).toBeGreaterThan(8); // at least one for each file
    expect(await checkpointSteps(run)).toEqual([2]);
  });

  it('are not written with values that are no numbers', async () => {
    const run = await temporaryFolder();
    await writeCheckpoint(run, partsAt(1), 1);
    const bad = partsAt(2, {
      read: async (key) => (key.startsWith('second.') ? (await read(key)).fill(Number.NaN) : read(key)),
    });
    await expect(writeCheckpoint(run, bad, 1)).rejects.toMatchObject({ code: 'not-finite' });
    expect(await readdir(run)).toEqual(['step-1']);
  });
});

async function contentsOf(folder: string): Promise<Record<string, string>> {
  const names = await readdir(folder);
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name), 'latin1')] as const)),
  );
}

/** A disk that takes `allowed` writes and is full then. */
function fillingFs(allowed: number): WriteFs {
  let left = allowed;
  return {
    ...nodeFs,
    open: async (...given: Parameters<typeof nodeFs.open>) => {
      const handle = await nodeFs.open(...given);
      const write = handle.write.bind(handle) as (...values: unknown[]) => Promise<unknown>;
      const full = (...values: unknown[]): Promise<unknown> => {
        if (left-- > 0) return write(...values);
        return Promise.reject(
          Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' }),
        );
      };
      return Object.assign(handle, { write: full }) as unknown as typeof handle;
    },
  };
}

describe('the lock of a folder', () => {
  it('is given to one at a time', async () => {
    const folder = await temporaryFolder();
    const lock = await lockFolder(folder);
    await expect(lockFolder(folder)).rejects.toMatchObject({
      code: 'run-locked',
      message: expect.stringContaining(`Process ${process.pid} on ${hostname()}`),
    });
    await lock.release();
    await (await lockFolder(folder)).release();
    expect(await readdir(folder)).toEqual([]);
  });

  it('is taken from a process that is gone, and from a file that says nothing', async () => {
    const folder = await temporaryFolder();
    for (const left of [JSON.stringify({ pid: 2 ** 22 + 1, host: hostname() }), '', '{"pid":']) {
      await writeFile(join(folder, 'lock.json'), left);
      await (await lockFolder(folder)).release();
      expect(await readdir(folder)).toEqual([]);
    }
  });

  it('of another machine is respected', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'lock.json'), JSON.stringify({ pid: 1, host: 'elsewhere.example' }));
    await expect(lockFolder(folder)).rejects.toMatchObject({ code: 'run-locked' });
    expect(await readdir(folder)).toEqual(['lock.json']);
  });
});
