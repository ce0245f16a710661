// Adapters as recipes train them: what they learn, going on after a kill, the folder that is left, and what is refused.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { load } from '../generate/load.ts';
import { writeModelFolder } from '../generate/testing.node.ts';
import { finetuneRecipe } from './finetune.node.ts';
import type { Recipe } from './recipe.ts';
import { parseRecipe, withSteps } from './recipe.ts';
import type { RunEvent } from './run.node.ts';
import { runRecipe } from './run.node.ts';
import { grammarText, temporaryFolder } from './testing.node.ts';

async function prepared() {
  const folder = await temporaryFolder();
  const [base, text] = [join(folder, 'base'), join(folder, 'own.txt')];
  await mkdir(base);
  await writeModelFolder(base, { chats: true, hiddenSize: 32, intermediateSize: 48 });
  await writeFile(text, grammarText(30_000));
  const given = await finetuneRecipe(base, text, { length: 32, learningRate: 0.02, engine: { threads: 1 } });
  const recipe = (steps: number, changes: Partial<Recipe> = {}): Recipe =>
    withSteps(
      parseRecipe({
        ...given,
        heldOut: { share: 0.1, everySteps: 1000, maxTokens: 1000 },
        sample: { prompt: 'The fox', maxTokens: 4 },
        ...changes,
      }),
      steps,
    );
  return { folder, base, text, recipe };
}

const lossesIn = (events: readonly RunEvent[]) =>
  events.flatMap((event) => (event.kind === 'step' ? [event.loss] : []));

describe('a recipe with an adapter [onnx]', () => {
  it('learns the text, tells the loss before and after, and leaves an adapter that generation loads', async () => {
    const { folder, base, recipe } = await prepared();
    const events: RunEvent[] = [];
    const out = join(folder, 'run');
    const result = await runRecipe(recipe(30), { out, onEvent: (event) => void events.push(event) });
    const { before, heldOut, final = '' } = result;
    expect((before?.natsPerToken ?? 0) - (heldOut?.natsPerToken ?? 0)).toBeGreaterThan(2);
    expect(events.filter(({ kind }) => kind === 'sample').map((event) => 'of' in event && event.of)).toEqual([
      'base',
      'adapter',
    ]);
    const begun = events.find((event) => event.kind === 'begin');
    expect(begun?.trained).toBeLessThan(begun?.parameters ?? 0);
    expect((await readdir(final)).sort()).toEqual(
      ['adapter_config.json', 'adapter_model.safetensors', 'manifest.json', 'recipe.json'].sort(),
    );
    expect((await readdir(join(out, 'step-30'))).includes('model.safetensors')).toBe(false);
    await using model = await load(base, { engine: { name: 'onnx', threads: 1 }, adapters: { own: final } });
    const sentence = ' river followed the hills.';
    const [plain = 0] = await model.score('A', [sentence]);
    const [adapted = 0] = await model.score('A', [sentence], { adapter: 'own' });
    expect(adapted - plain).toBeGreaterThan(10);
  });

  it('goes on after a kill to the same losses and the same bytes', async () => {
    const { folder, recipe } = await prepared();
    const whole: RunEvent[] = [];
    const straight = await runRecipe(recipe(8), { out: join(folder, 'a'), onEvent: (event) => void whole.push(event) });
    const parts: RunEvent[] = [];
    const out = join(folder, 'b');
    const stop = new AbortController();
    const onEvent = (event: RunEvent) => {
      parts.push(event);
      if (event.kind === 'step' && event.step === 3) stop.abort();
    };
    const broken = await runRecipe(recipe(8), { out, signal: stop.signal, onEvent });
    expect(broken).toMatchObject({ stopped: true });
    // The checkpoint is an adapter too.
    expect(await readdir(join(out, `step-${broken.step}`))).toContain('adapter_model.safetensors');
    const rest = await runRecipe(recipe(8), { out, resume: true, onEvent: (event) => void parts.push(event) });
    expect(lossesIn(parts)).toEqual(lossesIn(whole));
    expect(rest.before).toEqual(straight.before);
    const weights = (run: string) => readFile(join(folder, run, 'final', 'adapter_model.safetensors'));
    expect((await weights('b')).equals(await weights('a'))).toBe(true);
  });

  it('goes on with the base that it began with, and in no folder of others', async () => {
    const { folder, base, recipe } = await prepared();
    const out = join(folder, 'run');
    await runRecipe(recipe(1), { out });
    await expect(runRecipe(recipe(2), { out })).rejects.toMatchObject({ code: 'run-exists' });
    await expect(runRecipe(recipe(2), { out: base })).rejects.toMatchObject({ code: 'not-a-run' });
    const weights = await readFile(join(base, 'model.safetensors'));
    weights[weights.length - 1] = (weights.at(-1) ?? 0) ^ 1;
    await writeFile(join(base, 'model.safetensors'), weights);
    await expect(runRecipe(recipe(2), { out, resume: true })).rejects.toMatchObject({
      code: 'checkpoint-model',
      message: expect.stringContaining('trained on other weights'),
    });
  });

  it('sees the text as often as it is told to, and goes on to as many steps', async () => {
    const { folder, recipe } = await prepared();
    const stop = new AbortController();
    const options = { out: join(folder, 'run'), within: { minutes: 10, epochs: 0.5 }, signal: stop.signal };
    const found: number[] = [];
    const onEvent = (event: RunEvent) => {
      if (event.kind === 'begin') found.push(event.steps, event.sources['own']?.trainTokens ?? 0);
      if (event.kind === 'step') stop.abort();
    };
    await runRecipe(recipe(1e5), { ...options, onEvent });
    const [steps = 0, tokens = 0] = found;
    expect(steps).toBe(Math.ceil(tokens / 2 / 512));
    const done = await runRecipe(recipe(1e5), { ...options, resume: true, signal: AbortSignal.any([]) });
    expect(done.step).toBe(steps);
  });

  it.each<[string, string, Partial<Recipe>]>([
    ['no-adaptable-weights', 'no matrix "qkv"', { adapter: { kind: 'lora', rank: 2, targets: ['qkv'] } }],
    ['bad-recipe', 'leave one of them out', { quantize: { bits: 4, block: 32 } }],
    [
      'bad-recipe',
      'one device',
      { engine: { deterministic: false, dtype: 'float32', recompute: false, mesh: { data: 2 } } },
    ],
  ])('%s: %s', async (code, message, changes) => {
    const { folder, recipe } = await prepared();
    const run = async () => runRecipe(recipe(4, changes), { out: join(folder, 'run') });
    await expect(run()).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    expect(await readdir(folder)).not.toContain('run');
  });

  it('adapts what its targets name', async () => {
    const { folder, recipe } = await prepared();
    const adapter = { kind: 'lora' as const, rank: 2, targets: ['q_proj', 'w1'] };
    const { final = '' } = await runRecipe(recipe(1, { adapter }), { out: join(folder, 'run') });
    const config = JSON.parse(await readFile(join(final, 'adapter_config.json'), 'utf8'));
    expect(config).toMatchObject({ r: 2, lora_alpha: 4 });
    expect(config.target_modules.map((name: string) => name.split('.').at(-1)).toSorted()).toEqual([
      'q_proj',
      'w1',
      'w1',
    ]);
  });
});

describe('the recipe of lfm finetune', () => {
  it('knows chats by their first line, and asks their first question', async () => {
    const { folder, base } = await prepared();
    const file = join(folder, 'my chats.jsonl');
    const messages = [
      { role: 'user', content: 'Where to?' },
      { role: 'assistant', content: 'Down.' },
    ];
    await writeFile(file, `${JSON.stringify({ messages })}\n`.repeat(3));
    const recipe = await finetuneRecipe(base, file);
    expect(recipe).toMatchObject({
      name: 'base-my-chats',
      data: { sources: [{ kind: 'chat' }] },
      batch: { length: 128 }, // the context's
      tokenizer: { endOfText: '<|endoftext|>' },
      sample: { prompt: 'Where to?' },
    });
  });

  it.each([
    ['bad-flags', { length: 4096 }, 'text'],
    ['no-data', {}, ''],
  ])('%s', async (code, options, content) => {
    const { folder, base } = await prepared();
    const file = join(folder, 'short.txt');
    await writeFile(file, content);
    await expect(finetuneRecipe(base, file, options)).rejects.toMatchObject({ code });
  });
});
