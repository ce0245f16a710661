// Runs on a mesh that come to grief: killed while parts are written, a device that fails, and checkpoints in parts that are damaged.
import { spawn } from 'node:child_process';
import { copyFile, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Engine } from '../engines/engine.ts';
import { xlaEngine } from '../engines/xla/engine.node.ts';
import type { Mesh } from '../engines/xla/mesh.ts';
import { cpuPlugin } from '../engines/xla/testing.node.ts';
import { load } from '../generate/load.ts';
import { LfmError } from '../tensor/error.ts';
import { checkpointSteps, newestCheckpoint } from './checkpoint.node.ts';
import { readMetrics } from './metrics.node.ts';
import type { RunEvent } from './run.node.ts';
import { runRecipe } from './run.node.ts';
import { planSharding } from '../engines/xla/sharding.ts';
import { modelFromConfig } from '../models/index.ts';
import { readJsonIfPresent } from '../files/json.node.ts';
import { grammarText, temporaryFolder, tinyRecipe } from './testing.node.ts';

const repository = new URL('../..', import.meta.url);
const plugin = cpuPlugin?.path;
const options = { cacheFolder: null, cpuDevices: 8, ...(plugin && { plugin }) };
const open = (mesh: Mesh) => xlaEngine({ ...options, mesh });
const recipe = tinyRecipe({ sample: { maxTokens: 1 }, checkpoint: { everySteps: 4, keep: 3 } });

async function prepared(): Promise<{ text: string; out: string }> {
  const folder = await temporaryFolder();
  const text = join(folder, 'text.txt');
  await writeFile(text, grammarText(20_000));
  return { text, out: join(folder, 'run') };
}

async function losses(run: string): Promise<number[]> {
  const lines = await readMetrics(join(run, 'metrics.jsonl'));
  return lines.flatMap((line) => (line.kind === 'step' ? [line.loss] : []));
}

describe.skipIf(!cpuPlugin)('a run [xla, data=2 x fsdp=2]', () => {
  it('killed while it writes parts goes on from the checkpoint before, on fewer devices', async () => {
    const { text, out } = await prepared();
    const whole = `${out}-whole`;
    const mesh = { data: 2, fsdp: 2 };
    const engine = await open(mesh);
    await runRecipe(recipe, { engine, data: [text], out: whole });
    await engine.close();

    // Once step 4 is safe, the sixth part of the next checkpoint never comes.
    const script = `
      import { existsSync } from 'node:fs';
      import { xlaEngine } from './src/engines/xla/engine.node.ts';
      import { runRecipe } from './src/train/run.node.ts';
      const engine = await xlaEngine(${JSON.stringify({ ...options, mesh })});
      const never = () => new Promise(() => setInterval(() => {}, 1000));
      let late = 0;
      const hang = () => existsSync(${JSON.stringify(join(out, 'step-4'))}) && ++late > 5;
      const parts = (buffer) =>
        engine.parts(buffer).map((part) => ({ ...part, read: (device) => (hang() ? never() : part.read(device)) }));
      const given = ${JSON.stringify({ data: [text], out })};
      await runRecipe(${JSON.stringify(recipe)}, { ...given, engine: { ...engine, parts } });`;
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', '--conditions=lfm-source', '--input-type=module', '-e', script],
      { cwd: repository, stdio: ['ignore', 'ignore', 'pipe'] },
    );
    onTestFinished(() => void child.kill('SIGKILL'));
    let complaint = '';
    child.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
    const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
    for (let written = 0; written === 0;) {
      if (child.exitCode !== null) throw new Error(`The child ended by itself: ${complaint}`);
      const partial = (await readdir(out).catch(() => [])).find((name) => name.startsWith('step-8.partial-'));
      const names = partial === undefined ? [] : await readdir(join(out, partial));
      written = names.filter((name) => name.startsWith('model-part-')).length;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    child.kill('SIGKILL');
    await ended;
    expect(await checkpointSteps(out)).toEqual([4]);

    const fewer = await open({ fsdp: 2 });
    const events: RunEvent[] = [];
    await runRecipe(recipe, { engine: fewer, out, resume: true, onEvent: (event) => events.push(event) });
    expect(fewer.live().buffers).toBe(0);
    await fewer.close();
    expect(events.find((event) => event.kind === 'begin')?.step).toBe(4);
    expect(events.filter((event) => event.kind === 'notice')).toEqual([]);
    expect((await readdir(out)).filter((name) => name.includes('partial'))).toEqual([]);
    const [found, expected] = [await losses(out), await losses(whole)];
    expect(found).toHaveLength(12);
    found.forEach((loss, step) => expect(Math.abs(loss - (expected[step] ?? NaN))).toBeLessThan(1e-5));
  });

  it('whose device fails ends with one error, which names the checkpoint and how to go on', async () => {
    const { text, out } = await prepared();
    const engine = await open({ data: 2, fsdp: 2 });
    for (const at of ['start', 'end'] as const) {
      const error: unknown = await runRecipe(recipe, {
        engine: failing(engine, 6, at),
        data: [text],
        out: `${out}-${at}`,
        resumeCommand: (mesh) => `go on${mesh ? ` over ${JSON.stringify(mesh)}` : ''}`,
      }).catch((reason: unknown) => reason);
      expect(error).toMatchObject({ name: 'LfmError', code: 'xla-internal' });
      expect((error as Error).message).toMatch(
        /^Device 2 fell off the bus\. The run ended after step \d\. The last checkpoint is .*step-4; go on from it with: go on; or on fewer devices: go on over \{"data":1,"fsdp":2\}$/,
      );
      const steps = (await readdir(`${out}-${at}`)).filter((name) => name.startsWith('step-'));
      expect(steps).toEqual(['step-4']);
      await (await newestCheckpoint(`${out}-${at}`, (path, why) => expect.fail(`${path}: ${why}`)))?.close();
    }
    expect(engine.live().buffers).toBe(0);

    // The newest checkpoint has lost a part, or has one of another step: the one before serves, read as any mesh holds it.
    await runRecipe(recipe, { engine, out: `${out}-end`, resume: true });
    const run = `${out}-end`;
    expect(await checkpointSteps(run)).toEqual([12, 8, 4]);
    await rm(join(run, 'step-12', 'optimizer-part-00001.safetensors'));
    await copyFile(
      join(run, 'step-4', 'model-part-00002.safetensors'),
      join(run, 'step-8', 'model-part-00002.safetensors'),
    );
    const passed: string[] = [];
    await using older = await newestCheckpoint(run, (_, why) => passed.push(why));
    expect(older?.state.step).toBe(4);
    expect(passed).toEqual([
      expect.stringContaining('the file optimizer-part-00001.safetensors is missing'),
      expect.stringContaining('model-part-00002.safetensors has SHA-256'),
    ]);
    if (!older) return;
    const model = modelFromConfig(await readJsonIfPresent(join(older.path, 'config.json')));
    const fewer: readonly Mesh[] = [{ tensor: 2 }, { fsdp: 4 }, { data: 2, fsdp: 2, tensor: 2 }];
    for (const mesh of fewer) {
      const other = await open(mesh);
      const { shardings } = planSharding(mesh, model.parameters, { batch: recipe.batch });
      for (const [name, { shape }] of Object.entries(model.parameters)) {
        for (const key of [name, `first.${name}`, `second.${name}`]) {
          const [read, sharding] = [older.reader(key), shardings[key]];
          if (!read || !sharding || !other.uploadParts) throw new Error(key);
          const buffer = await other.uploadParts('float32', shape, sharding, read);
          expect(await other.download(buffer), key).toEqual(await read());
          buffer.dispose();
        }
      }
      await other.close();
    }
    // A checkpoint is a model folder, in parts too.
    await using speaks = await load(older.path);
    expect((await speaks.generate('The', { maxTokens: 2, temperature: 0 })).usage.completionTokens).toBeGreaterThan(0);
    await truncate(join(run, 'step-4', 'model-part-00000.safetensors'), 100);
    await expect(newestCheckpoint(run, () => {})).rejects.toMatchObject({ code: 'no-whole-checkpoint' });
    await engine.close();
  });
});

/** An engine whose training step fails at its `at`th run: when it is issued, or when its loss is asked for. */
function failing(engine: Engine, at: number, when: 'start' | 'end'): Engine {
  const broken = () => new LfmError('xla-internal', 'Device 2 fell off the bus.');
  let steps = 0;
  return {
    ...engine,
    async compile(program, given) {
      const executable = await engine.compile(program, given);
      if (program.name !== 'train-step') return executable;
      return {
        ...executable,
        release: () => executable.release(),
        run: async (inputs) => {
          steps++;
          if (when === 'start' && steps >= at) throw broken();
          return executable.run(inputs);
        },
      };
    },
    download: (buffer) => (when === 'end' && steps >= at ? Promise.reject(broken()) : engine.download(buffer)),
  };
}
