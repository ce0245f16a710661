// Recipes from outside: what is read, what is filled in, and what each mistake says.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { countOf } from '../tensor/index.ts';
import { nearest } from './nearest.ts';
import { assignFiles, withoutEmptySources } from './recipe-data.ts';
import { readRecipe, shippedRecipes } from './recipe-file.node.ts';
import { isStoredModel, modelOf } from './recipe-model.ts';
import { parseRecipe, withSteps } from './recipe.ts';
import { temporaryFolder, tinyInput, tinyRecipe } from './testing.node.ts';

const ids = { pad: 0, endOfText: 2 };

function messageOf(value: unknown): string {
  try {
    parseRecipe(value);
  } catch (error) {
    return (error as Error).message;
  }
  return 'no error';
}

describe('parseRecipe', () => {
  it('fills in every default, and reads its own result the same', () => {
    const recipe = tinyRecipe();
    expect(recipe.optimizer).toEqual({ beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, maxNorm: 1 });
    expect(recipe.tokenizer.endOfText).toBe('<|endoftext|>');
    expect(recipe.final.dtype).toBe('float32');
    expect(parseRecipe(JSON.parse(JSON.stringify(recipe)))).toEqual(recipe);
  });

  it.each([
    [{ ...tinyInput, learning_rate: 1 }, 'unknown key "learning_rate"; did you mean "learningRate"?'],
    [
      { ...tinyInput, optimizer: { weightDecy: 1 } },
      'optimizer: unknown key "weightDecy"; did you mean "weightDecay"?',
    ],
    [
      { ...tinyInput, model: { ...tinyInput.model, hiden_size: 4 } },
      'model: unknown key "hiden_size"; did you mean "hiddenSize"?',
    ],
    [
      { ...tinyInput, data: { sources: [{ name: 'a', wieght: 2 }] } },
      'data.sources.0: unknown key "wieght"; did you mean "weight"?',
    ],
    [{ ...tinyInput, schedule: { kind: 'wsd', decaySteps: 1, warmup: 1 } }, 'schedule: unknown key "warmup"'],
    [{ ...tinyInput, xyz: 1 }, 'unknown key "xyz"; known are format, name, model'],
    [{ ...tinyInput, steps: 0 }, 'steps: '],
    [{ ...tinyInput, steps: 2 }, 'schedule: 2 steps of warm-up and 1 of decay do not fit into 2 steps'],
    [{ ...tinyInput, schedule: { kind: 'linear' } }, 'schedule.kind: '],
    [{ ...tinyInput, model: 7 }, 'model: expected an object'],
    [{ ...tinyInput, model: { ...tinyInput.model, hiddenSize: undefined } }, 'model.hiddenSize: '],
    [
      { ...tinyInput, model: { ...tinyInput.model, numAttentionHeads: 3 } },
      'hidden_size 16 over num_attention_heads 3',
    ],
    [
      { ...tinyInput, model: { ...tinyInput.model, vocabSize: 300 } },
      'vocabulary of 300, tokenizer.train asks for 280',
    ],
    [{ ...tinyInput, model: { ...tinyInput.model, maxPositionEmbeddings: 8 } }, 'batch.length 16 exceeds'],
    [{ ...tinyInput, tokenizer: {} }, 'tokenizer: expected train'],
    [{ ...tinyInput, tokenizer: { file: 'a', train: { vocabSize: 300 } } }, 'found both'],
    [{ ...tinyInput, schedule: { kind: 'cosine', warmupSteps: 12 } }, 'do not fit into 12 steps'],
    [{ ...tinyInput, data: { sources: [{ name: 'a' }, { name: 'a' }] } }, 'two are named "a"'],
    [{ ...tinyInput, model: { model_type: 'bert' } }, 'expected a model_type among lfm2'],
    [{ ...tinyInput, name: '../up' }, 'name: '],
    [[], 'expected object'],
    [null, 'expected object'],
  ])('refuses mistake %#', (value, message) => expect(messageOf(value)).toContain(message));

  it('says to update for a newer format', () => {
    expect(() => parseRecipe({ ...tinyInput, format: 2 })).toThrow(expect.objectContaining({ code: 'recipe-format' }));
  });

  it('makes one model of both spellings', () => {
    const { model } = tinyRecipe();
    if (isStoredModel(model)) throw new Error('expected sizes');
    const context = { vocabSize: 280, ids, length: 16 };
    const made = modelOf(model, context);
    const same = modelOf({ ...made.config, model_type: 'lfm2' }, context);
    expect(same.config).toEqual(made.config);
    expect(made.config).toMatchObject({
      vocab_size: 280,
      intermediate_size: 32,
      num_key_value_heads: 1,
      eos_token_id: 2,
      max_position_embeddings: 16,
    });
  });

  it('scales warm-up and decay with the steps', () => {
    const recipe = tinyRecipe({ steps: 100, schedule: { kind: 'wsd', warmupSteps: 10, decaySteps: 20 } });
    expect(withSteps(recipe, 50).schedule).toEqual({ kind: 'wsd', warmupSteps: 5, decaySteps: 10, minimum: 0 });
    expect(withSteps(recipe, 1).schedule).toMatchObject({ warmupSteps: 0, decaySteps: 1 });
    expect(withSteps(recipe, 100)).toEqual(recipe);
  });
});

describe('files of the sources', () => {
  const two = tinyRecipe({ data: { sources: [{ name: 'books' }, { name: 'stories', paths: ['kept.txt'] }] } });
  const pathsOf = (recipe: typeof two) =>
    Object.fromEntries(recipe.data.sources.map(({ name, paths }) => [name, paths]));

  it('go where they are told to, then by their names, then where there is room', () => {
    expect(pathsOf(assignFiles(two, ['stories=a.txt', 'x/Books-en.txt.br']))).toEqual({
      books: ['x/Books-en.txt.br'],
      stories: ['a.txt'],
    });
    expect(pathsOf(assignFiles(two, ['a.txt']))).toEqual({ books: ['a.txt'], stories: ['kept.txt'] });
    expect(pathsOf(assignFiles(tinyRecipe(), ['a.txt', 'b.txt']))).toEqual({ text: ['a.txt', 'b.txt'] });
  });

  it('are refused where it is unclear what they are for', () => {
    expect(() => assignFiles(two, ['a.txt', 'b.txt', 'c.txt'])).toThrow('say which it is for');
    expect(() => assignFiles(two, ['poems=a.txt'])).toThrow('no source "poems"; known are books, stories');
  });

  it('may be missing for some sources, but not for all', () => {
    expect(withoutEmptySources(two)).toMatchObject({ left: ['books'] });
    expect(() => withoutEmptySources(tinyRecipe())).toThrow('add --data FILE');
  });
});

describe('recipe files', () => {
  it('ship with the package, and are valid', async () => {
    expect(await shippedRecipes()).toEqual([
      'brook-130m/align',
      'brook-130m/distill',
      'brook-130m/distill-half',
      'brook-130m/distill-on',
      'brook-130m/finetune',
      'brook-130m/round',
      'brook-130m/round-half',
      'brook-130m/round-on',
      'brook-130m/windows',
      'brook-130m/windows-round',
      'brook-7m',
      'hello',
      'lfm2-350m',
      'liquid-6b',
    ]);
    const sizes: Record<string, number> = {};
    for (const name of await shippedRecipes()) {
      const { model, tokenizer, batch } = await readRecipe(name);
      if (isStoredModel(model)) continue; // its sizes are those of weights that do not ship
      const { parameters } = modelOf(model, { vocabSize: tokenizer.train?.vocabSize ?? 0, ids, length: batch.length });
      sizes[name] = Object.values(parameters).reduce((sum, { shape }) => sum + countOf(shape), 0);
    }
    // brook-7m in bfloat16 must stay below 15 MB with its tokenizer.
    expect(sizes).toEqual({
      'brook-7m': 7_202_432,
      hello: 969_024,
      'lfm2-350m': 354_483_968,
      'liquid-6b': 5_931_157_248,
    });
  });

  it('are read from modules too', async () => {
    const folder = await temporaryFolder();
    const [js, empty] = [join(folder, 'r.mjs'), join(folder, 'e.mjs')];
    await writeFile(js, `export default ${JSON.stringify(tinyInput)};`);
    await writeFile(empty, 'export const recipe = 1;');
    expect(await readRecipe(js)).toEqual(tinyRecipe());
    await expect(readRecipe(empty)).rejects.toMatchObject({ code: 'recipe-unreadable' });
  });

  it.each([
    ['missing.json', undefined, 'recipe-missing'],
    ['helo', undefined, 'recipe-missing'],
    ['cut.json', '{"format": 1', 'json-file-json'],
    ['twice.json', '{"format": 1, "format": 1}', 'json-file-duplicate-key'],
    ['recipe.yaml', 'format: 1', 'recipe-unreadable'],
    ['broken.mjs', 'export default {', 'recipe-unreadable'],
  ])('%s has one clear error', async (file, content, code) => {
    const path = join(await temporaryFolder(), file);
    if (content !== undefined) await writeFile(path, content);
    await expect(readRecipe(content === undefined ? file : path)).rejects.toMatchObject({ code });
  });

  it('suggests a shipped name', async () => {
    await expect(readRecipe('helo')).rejects.toThrow('did you mean "hello"?');
  });
});

it('nearest stays silent where nothing is near', () => {
  expect(nearest('wieght', ['weight', 'width'])).toBe('weight');
  expect(nearest('hidden_size', ['hiddenSize'])).toBe('hiddenSize');
  expect(nearest('zebra', ['weight', 'width'])).toBeUndefined();
});
