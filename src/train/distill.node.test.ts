// Hybridisation and distillation at toy size, whole: a transformer is trained, half of its attention replaced, aligned, and
// taught end to end; and what is refused on the way.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { onnxEngine } from '../engines/onnx/engine.node.ts';
import { load } from '../generate/load.ts';
import { openSource } from '../generate/source.node.ts';
import { quantizeModel } from '../generate/quantize.node.ts';
import type { Model } from '../liquid/index.ts';
import { modelFromConfig } from '../models/index.ts';
import { configOf } from './model-config.ts';
import { readMetrics } from './metrics.node.ts';
import type { RecipeInput } from './recipe.ts';
import type { RunEvent, RunRecipeOptions, RunResult } from './run.node.ts';
import { runRecipe } from './run.node.ts';
import { hybridOf } from './stored.node.ts';
import { grammarText, temporaryFolder, tinyRecipe } from './testing.node.ts';

const operator = (name: string, options: object) => ({ operator: name, options });
const layers = {
  attention: {
    mixer: operator('attention', { heads: 4, keyValueHeads: 2, qkNorm: false }),
    mlp: operator('swiglu', { intermediateSize: 64 }),
  },
};
const transformer = {
  model_type: 'liquid',
  liquid_version: 1,
  hidden_size: 32,
  layers,
  layer_types: Array(4).fill('attention'),
};

const base: Partial<RecipeInput> = {
  batch: { size: 8, length: 32 },
  heldOut: { share: 0.1, everySteps: 1000 },
  checkpoint: { everySteps: 1000, keep: 2 },
  schedule: { kind: 'cosine', warmupSteps: 5, minimum: 0.05 },
};

const lossOf = ({ heldOut }: RunResult): number => heldOut?.natsPerToken ?? Number.NaN;

describe('a hybrid of a transformer [onnx]', () => {
  it('recovers 95% of what replacing half its attention costs', { timeout: 120_000 }, async () => {
    const folder = await temporaryFolder();
    const text = join(folder, 'text.txt');
    await writeFile(text, grammarText(40_000));
    const engine = await onnxEngine({ threads: 1 });
    const run = (name: string, recipe: Partial<RecipeInput>, options: RunRecipeOptions = {}) =>
      runRecipe(tinyRecipe({ ...base, ...recipe }), { data: [text], out: join(folder, name), engine, ...options });

    const teacher = await run('teacher', { model: transformer, steps: 80, learningRate: 0.01 });
    const teacherFolder = join(folder, 'teacher', 'final');
    const replace = { layers: [0, 2], operator: 'short_conv', options: { kernel: 3 } };
    const align: Partial<RecipeInput> = {
      model: { from: teacherFolder, replace },
      tokenizer: {},
      objective: { name: 'align' },
      steps: 40,
    };
    // At a rate of next to nothing: what the hybrid is worth before it is trained.
    const untrained = await run('untrained', { ...align, steps: 6, learningRate: 1e-9 });
    await run('align', { ...align, learningRate: 0.02 });
    const [first, last] = await ends(join(folder, 'align'));
    expect(last['relativeError']).toBeLessThan(0.6 * (first['relativeError'] ?? 0));

    // Stopped on the way and gone on with, as any run.
    const distill: Partial<RecipeInput> = {
      model: { from: join(folder, 'align', 'final') },
      tokenizer: {},
      objective: { name: 'distill', teacher: teacherFolder },
      steps: 40,
      learningRate: 0.005,
    };
    const whole = await run('whole', distill);
    const stop = new AbortController();
    const onEvent = (event: RunEvent) => void (event.kind === 'step' && event.step === 15 && stop.abort());
    expect((await run('parts', distill, { onEvent, signal: stop.signal })).stopped).toBe(true);
    const student = await run('parts', distill, { resume: true });
    expect(lossOf(student)).toBe(lossOf(whole));

    // What it is told of the teacher is what the teacher's own run measured.
    expect(student.teacher?.natsPerToken).toBeCloseTo(lossOf(teacher), 5);
    const gap = lossOf(untrained) - lossOf(teacher);
    expect(gap).toBeGreaterThan(0.3);
    expect(lossOf(student) - lossOf(teacher)).toBeLessThan(0.05 * gap);
    const [, told] = await ends(join(folder, 'whole'));
    expect(told['studentLoss']).toBeCloseTo(told['teacherLoss'] ?? Number.NaN, 1);

    // The folder says what it is, and packs.
    const config: unknown = JSON.parse(await readFile(join(folder, 'parts', 'final', 'config.json'), 'utf8'));
    expect(config).toMatchObject({
      model_type: 'liquid',
      layer_types: ['short_conv', 'attention', 'short_conv', 'attention'],
    });
    const source = await openSource(join(folder, 'parts', 'final'));
    await quantizeModel(source, join(folder, 'packed'), { bits: 8, block: 32 });
    await source.weights.close();
    const packed = await load(join(folder, 'packed'), { engine });
    expect((await packed.generate('The', { maxTokens: 3, seed: 1 })).text.length).toBeGreaterThan(0);
    await packed[Symbol.asyncDispose]();
    expect(engine.live()).toEqual({ buffers: 0, bytes: 0 });
    await engine.close();
  });
});

describe('a layer map', () => {
  it('whose kept attention takes norms of queries and keys makes an LFM2', () => {
    const llama = modelFromConfig({
      model_type: 'llama',
      vocab_size: 300,
      hidden_size: 32,
      intermediate_size: 64,
      num_hidden_layers: 3,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      tie_word_embeddings: true,
      rope_theta: 5000,
    });
    const options = { heads: 4, keyValueHeads: 2, theta: 5000, qkNorm: true };
    const hybrid = hybridOf(llama, [
      { layers: [0, 1], operator: 'short_conv', options: {} },
      { layers: [2], operator: 'attention', options },
    ]);
    expect(configOf(hybrid, { pad: null, endOfText: 0 })).toMatchObject({
      model_type: 'lfm2',
      layer_types: ['conv', 'conv', 'full_attention'],
    });
    // All else keeps its name, and so its weights.
    const names = (model: Model) => Object.keys(model.parameters).filter((name) => !/conv|self_attn/.test(name));
    expect(names(hybrid)).toEqual(names(llama));
  });
});

describe('what is refused', () => {
  const replaced = (replace: object) => ({ from: 'brook-7m', replace });
  const align: Partial<RecipeInput> = { tokenizer: {}, objective: { name: 'align' } };
  it.each<[string, string, Partial<RecipeInput>]>([
    ['bad-layers', 'layer 40', { ...align, model: replaced({ layers: [40], operator: 'short_conv' }) as never }],
    ['bad-layers', 'layer 1 twice', { ...align, model: replaced({ layers: [1, 1], operator: 'short_conv' }) as never }],
    ['unknown-operator', 'short_con', { ...align, model: replaced({ layers: [1], operator: 'short_con' }) as never }],
    [
      'bad-recipe',
      'attention',
      { ...align, model: replaced({ layers: [1], operator: 'attention', options: { heads: 7 } }) as never },
    ],
  ])('%s: %s', async (code, message, recipe) => {
    const folder = await temporaryFolder();
    const text = join(folder, 'text.txt');
    await writeFile(text, grammarText(4000));
    const out = join(folder, 'run');
    await expect(runRecipe(tinyRecipe({ ...base, ...recipe }), { data: [text], out })).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
    await expect(readdir(out)).rejects.toThrow('ENOENT');
  });

  it('a teacher with another tokenizer, saying what differs', async () => {
    const folder = await temporaryFolder();
    const text = join(folder, 'text.txt');
    await writeFile(text, grammarText(4000));
    await runRecipe(tinyRecipe({ steps: 3 }), { data: [text], out: join(folder, 'other') });
    const recipe = tinyRecipe({
      model: { from: join(folder, 'other', 'final') },
      tokenizer: {},
      objective: { name: 'distill', teacher: 'brook-7m' },
    });
    await expect(runRecipe(recipe, { data: [text], out: join(folder, 'run') })).rejects.toMatchObject({
      code: 'tokenizer-mismatch',
      message: expect.stringContaining("the student's has 280 tokens, the teacher's 4096"),
    });
  });

  it.each<[string, Partial<RecipeInput>]>([
    ['expected a model with { from, replace }', { objective: { name: 'align' } }],
    ['expected teacher', { objective: { name: 'distill' } }],
    ["needs the teacher's tokenizer", { objective: { name: 'distill', teacher: 'brook-7m' } }],
  ])('a recipe that contradicts itself: %s', (message, recipe) => {
    expect(() => tinyRecipe(recipe)).toThrow(expect.objectContaining({ message: expect.stringContaining(message) }));
  });
});

/** What the first and the last step told. */
async function ends(run: string): Promise<[Readonly<Record<string, number>>, Readonly<Record<string, number>>]> {
  const told = (await readMetrics(join(run, 'metrics.jsonl'))).flatMap((line) =>
    line.kind === 'step' && line.metrics ? [line.metrics] : [],
  );
  return [told[0] ?? {}, told.at(-1) ?? {}];
}
