// Whole runs of a tiny recipe: killed and gone on with, stopped, continued, refused.
import { spawn } from 'node:child_process';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { load } from '../generate/load.ts';
import { checkpointSteps } from './checkpoint.node.ts';
import { readMetrics } from './metrics.node.ts';
import type { Recipe } from './recipe.ts';
import { withSteps } from './recipe.ts';
import type { RunEvent, RunRecipeOptions } from './run.node.ts';
import { runRecipe } from './run.node.ts';
import { grammarText, temporaryFolder, tinyInput, tinyRecipe } from './testing.node.ts';

const repository = new URL('../..', import.meta.url);

async function withText(content: string | Uint8Array = grammarText(20_000)): Promise<{ out: string; text: string }> {
  const folder = await temporaryFolder();
  const text = join(folder, 'text.txt');
  await writeFile(text, content);
  return { out: join(folder, 'run'), text };
}

/** Losses and norms of each step to the last bit, and held-out measures: what must not depend on interruptions. */
async function numbersOf(run: string): Promise<unknown[]> {
  const lines = await readMetrics(join(run, 'metrics.jsonl'));
  return lines.map((line) =>
    line.kind === 'step' ? { step: line.step, loss: line.loss, norm: line.norm, rate: line.learningRate } : line,
  );
}

async function filesOf(run: string, folder: string): Promise<Record<string, string>> {
  const names = ['model.safetensors', 'optimizer.safetensors', 'trainer.json'];
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(join(run, folder, name), 'latin1')] as const)),
  );
}

function recorder(): { events: RunEvent[]; onEvent: (event: RunEvent) => void; kinds: () => Set<string> } {
  const events: RunEvent[] = [];
  return { events, onEvent: (event) => void events.push(event), kinds: () => new Set(events.map(({ kind }) => kind)) };
}

describe('a run [onnx]', () => {
  it('leaves a model that speaks, checkpoints, metrics, a plot, and nothing else', async () => {
    const { out, text } = await withText();
    const { events, onEvent, kinds } = recorder();
    const result = await runRecipe(tinyRecipe(), { data: [text], out, onEvent });
    expect(result).toMatchObject({ folder: out, step: 12, stopped: false, final: join(out, 'final') });
    expect((await readdir(out)).sort()).toEqual(['data', 'final', 'metrics.jsonl', 'plot.html', 'step-12', 'step-8']);
    expect(kinds()).toEqual(
      new Set(['recipe', 'progress', 'plan', 'begin', 'step', 'heldOut', 'checkpoint', 'sample']),
    );
    const steps = events.flatMap((event) => (event.kind === 'step' ? [event] : []));
    expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 12 }, (_, index) => index + 1));
    expect(steps.at(-1)?.loss).toBeLessThan((steps[0]?.loss ?? 0) - 0.3);
    // Everything held out was measured: the bytes are the text's own.
    const corpus = (await readdir(join(out, 'data'))).find((name) => name.startsWith('text-')) ?? '';
    const info = JSON.parse(await readFile(join(out, 'data', corpus, 'corpus.json'), 'utf8')) as {
      heldOut: { textBytes: number; tokens: number };
    };
    expect(result.heldOut).toMatchObject({ bytes: info.heldOut.textBytes, tokens: info.heldOut.tokens });
    expect(result.heldOut?.bitsPerByte).toBeCloseTo(
      ((result.heldOut?.natsPerToken ?? 0) * info.heldOut.tokens) / Math.LN2 / info.heldOut.textBytes,
      9,
    );
    await using model = await load(join(out, 'final'));
    // A text begins as documents did in training: after the token that ended the one before.
    expect([...model.tokenizer.encode('')]).toEqual([model.tokenizer.idOf('<|endoftext|>')]);
    expect((await model.generate('The', { maxTokens: 3, temperature: 0 })).usage.completionTokens).toBeGreaterThan(0);
    const plot = await readFile(join(out, 'plot.html'), 'utf8');
    expect(plot).toContain('"steps":[1,2,3,4,5,6,7,8,9,10,11,12]');
    expect(plot).not.toMatch(/(src|href)="?http/);
  });

  it('goes on after SIGKILL at any moment as if nothing had happened', { timeout: 120_000 }, async () => {
    const { out, text } = await withText();
    const model = {
      hiddenSize: 16,
      intermediateSize: 32,
      layerTypes: ['conv' as const, 'full_attention' as const],
      numAttentionHeads: 2,
    };
    const recipe = tinyRecipe({
      model,
      engine: { threads: 2 },
      steps: 24,
      checkpoint: { everySteps: 3, keep: 2 },
      heldOut: { everySteps: 8 },
    });
    const [whole, killed] = [`${out}-whole`, `${out}-killed`];
    await runRecipe(recipe, { data: [text], out: whole });
    const reached = await killAfter(1 + Math.floor(18 * Math.random()), recipe, { data: [text], out: killed });
    const { events, onEvent } = recorder();
    await runRecipe(recipe, { data: [text], out: killed, resume: true, onEvent });
    const begin = events.find((event) => event.kind === 'begin');
    expect(begin?.step, `killed at step ${reached}`).toBeLessThanOrEqual(reached);
    expect(await numbersOf(killed), `killed at step ${reached}`).toEqual(await numbersOf(whole));
    const lengths = /"metricsBytes": \d+/; // lines hold times, whose digits differ
    const [a, b] = [await filesOf(killed, 'step-24'), await filesOf(whole, 'step-24')];
    for (const files of [a, b]) files['trainer.json'] = (files['trainer.json'] ?? '').replace(lengths, '');
    expect(a).toEqual(b);
  });

  it('stops after the present step when asked to, and goes on to the same end', async () => {
    const { out, text } = await withText();
    const recipe = tinyRecipe();
    const [whole, parts] = [`${out}-whole`, `${out}-parts`];
    await runRecipe(recipe, { data: [text], out: whole });
    const abort = new AbortController();
    const stopped = await runRecipe(recipe, {
      data: [text],
      out: parts,
      signal: abort.signal,
      onEvent: (event) => event.kind === 'step' && event.step === 5 && abort.abort(),
    });
    expect(stopped.stopped).toBe(true);
    expect(stopped.step).toBeLessThanOrEqual(8);
    expect(await checkpointSteps(parts)).toContain(stopped.step);
    await runRecipe(recipe, { out: parts, resume: true }); // the text is the one of before
    expect(await numbersOf(parts)).toEqual(await numbersOf(whole));
  });

  it('can be made longer, and says what changed', async () => {
    const { out, text } = await withText();
    const short = tinyRecipe({ schedule: { kind: 'wsd', warmupSteps: 2, decaySteps: 1 }, heldOut: { share: 0 } });
    await runRecipe(withSteps(short, 6), { data: [text], out });
    const { events, onEvent } = recorder();
    const result = await runRecipe(withSteps(short, 9), { data: [text], out, resume: true, onEvent });
    expect(result).toMatchObject({ step: 9, stopped: false });
    expect(result.heldOut).toBeUndefined();
    expect(events).toContainEqual({ kind: 'notice', text: 'changed since the checkpoint: steps: 6 -> 9' });
    expect((await numbersOf(out)).length).toBe(9);
    const wider = tinyRecipe({ ...short, model: { ...tinyInput.model, hiddenSize: 32 } });
    await expect(runRecipe(wider, { data: [text], out, resume: true })).rejects.toMatchObject({
      code: 'checkpoint-model',
    });
    const reseeded: Recipe = { ...short, seed: 1 };
    await expect(runRecipe(withSteps(reseeded, 20), { data: [text], out, resume: true })).rejects.toMatchObject({
      code: 'cursor-mismatch',
    });
  });

  it('is not overwritten, and not shared', async () => {
    const { out, text } = await withText();
    const recipe = tinyRecipe({ steps: 3 });
    let other: unknown;
    await runRecipe(recipe, {
      data: [text],
      out,
      onEvent: (event) => {
        if (event.kind === 'begin') other = runRecipe(recipe, { data: [text], out }).catch((error: unknown) => error);
      },
    });
    expect(await other).toMatchObject({ code: 'run-locked' });
    await expect(runRecipe(recipe, { data: [text], out })).rejects.toMatchObject({
      code: 'run-exists',
      message: expect.stringContaining('--resume'),
    });
  });

  it('starts from a folder with its weights and its vocabulary', async () => {
    const { out, text } = await withText();
    await runRecipe(tinyRecipe(), { data: [text], out: `${out}-first` });
    const again = tinyRecipe({ model: { folder: join(`${out}-first`, 'final') }, tokenizer: {}, steps: 3 });
    const { events, onEvent } = recorder();
    await runRecipe(again, { data: [text], out, onEvent });
    const [first] = events.flatMap((event) => (event.kind === 'step' ? [event] : []));
    expect(first?.loss).toBeLessThan(5); // fresh weights begin at ln 280 = 5.6
  });

  it('whose loss is no number ends there, and keeps what was good', async () => {
    const { out, text } = await withText();
    await runRecipe(tinyRecipe({ steps: 4 }), { data: [text], out });
    const good = await filesOf(out, 'step-4');
    // A rate that no model survives: the weights overflow within a few steps.
    const bad = tinyRecipe({
      steps: 60,
      learningRate: 10,
      optimizer: { weightDecay: 10, maxNorm: 1e9 },
      checkpoint: { everySteps: 100 },
    });
    const error: unknown = await runRecipe(bad, { out, resume: true }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'not-finite' });
    expect((error as Error).message).toMatch(
      /^Step \d+: the (loss|gradient norm) is (NaN|Infinity), .*The last good checkpoint is .*step-4\./,
    );
    expect(await filesOf(out, 'step-4')).toEqual(good);
    expect(await checkpointSteps(out)).toEqual([4]);
  });
});

describe('a mistake', () => {
  const cases: [
    string,
    Partial<typeof tinyInput>,
    (text: string) => Partial<RunRecipeOptions>,
    string | Uint8Array,
    string,
  ][] = [
    ['no text', {}, () => ({ data: [] }), 'x', 'no-data'],
    ['a missing file', {}, (text) => ({ data: [`${text}.gone.txt`] }), 'x', 'text-unreadable'],
    ['another format', {}, (text) => ({ data: [`${text}.pdf`] }), 'x', 'text-format'],
    ['text that is not UTF-8', {}, (text) => ({ data: [text] }), Uint8Array.of(0x61, 0xff, 0x62), 'invalid-utf8'],
    [
      'a missing model',
      { model: { folder: 'nowhere' }, tokenizer: {} },
      (text) => ({ data: [text] }),
      'x',
      'folder-missing',
    ],
    [
      'an engine that is not there',
      { engine: { name: 'abacus' } },
      (text) => ({ data: [text] }),
      'x',
      'unknown-engine',
    ],
    ['a missing tokenizer', { tokenizer: { file: 'nowhere.json' } }, (text) => ({ data: [text] }), 'x', 'file-missing'],
  ];
  it.each(cases)('%s is one clear error, and nothing is written', async (_, changes, options, content, code) => {
    const { out, text } = await withText(content);
    await expect(runRecipe(tinyRecipe(changes), { out, ...options(text) })).rejects.toMatchObject({ code });
    expect(await stat(out).catch(() => undefined)).toBeUndefined();
  });

  it('a vocabulary that does not fit the model is one clear error, and nothing is written', async () => {
    const { out, text } = await withText();
    await runRecipe(tinyRecipe({ steps: 3 }), { data: [text], out });
    const file = join(out, 'final', 'tokenizer.json');
    const small = tinyRecipe({ tokenizer: { file }, model: { ...tinyInput.model, vocabSize: 270 } });
    await expect(runRecipe(small, { data: [text], out: `${out}-2` })).rejects.toMatchObject({
      code: 'vocabulary-mismatch',
    });
    expect(await stat(`${out}-2`).catch(() => undefined)).toBeUndefined();
  });

  it('too little text is one clear error, and leaves no checkpoint', async () => {
    const { out, text } = await withText('Too short.\n');
    await expect(runRecipe(tinyRecipe(), { data: [text], out })).rejects.toMatchObject({ code: 'corpus-too-small' });
    expect(await checkpointSteps(out)).toEqual([]);
  });
});

/** Runs a recipe in a process of its own and kills it once its log has `lines` lines; how many steps it had then. */
async function killAfter(
  lines: number,
  recipe: Recipe,
  options: RunRecipeOptions & { readonly out: string },
): Promise<number> {
  const script = `import { runRecipe } from './src/train/run.node.ts'; await runRecipe(${JSON.stringify(recipe)}, ${JSON.stringify(options)});`;
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', '--conditions=lfm-source', '--input-type=module', '-e', script],
    { cwd: repository, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  onTestFinished(() => void child.kill('SIGKILL'));
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  const log = join(options.out, 'metrics.jsonl');
  for (;;) {
    const count = (await readFile(log, 'utf8').catch(() => '')).split('\n').length - 1;
    if (count >= lines) break;
    if (child.exitCode) throw new Error(`The child ended by itself: ${complaint}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  child.kill('SIGKILL');
  await ended;
  return (await readMetrics(log)).filter(({ kind }) => kind === 'step').length;
}
