// Training from code, and the files of a trained model.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { load } from '../generate/load.ts';
import { attention, block, defineModel, layer, shortConv, stack, swiglu } from '../liquid/index.ts';
import { configOf } from './model-config.ts';
import { grammarText, temporaryFolder } from './testing.node.ts';
import { bpe, text, train } from './train.node.ts';

const mlp = swiglu({ intermediateSize: 32 });
const [c, a] = [layer(shortConv({ kernel: 3 }), mlp), layer(attention({ heads: 2, keyValueHeads: 1 }), mlp)];
const mine = defineModel({ vocabSize: 280, hiddenSize: 16, layers: [c, a], contextLength: 64 });
const ids = { pad: 0, endOfText: 2 };

describe('train [onnx]', () => {
  it('learns, saves, and what was saved says the same', async () => {
    const folder = await temporaryFolder();
    const file = join(folder, 'text.txt');
    await writeFile(file, grammarText(10_000));
    const losses: number[] = [];
    const trained = await train(mine, {
      data: text(file),
      tokenizer: bpe(),
      steps: 10,
      learningRate: 0.01,
      batch: { size: 2, length: 16 },
      onStep: ({ loss }) => losses.push(loss),
    });
    expect(losses.length).toBe(10);
    expect(losses.at(-1)).toBeLessThan((losses[0] ?? 0) - 0.3);
    expect(trained.heldOut?.bitsPerByte).toBeGreaterThan(0);
    await trained.save(join(folder, 'mine'), { dtype: 'bfloat16' });
    await using model = await load(join(folder, 'mine'));
    expect((await model.generate('The', { maxTokens: 3 })).usage.completionTokens).toBeGreaterThan(0);
    const saved = JSON.parse(await readFile(join(folder, 'mine', 'config.json'), 'utf8')) as object;
    expect(saved).toMatchObject({
      dtype: 'bfloat16',
      max_position_embeddings: 64,
      layer_types: ['conv', 'full_attention'],
      rope_parameters: { rope_theta: 10_000 },
    });
  });

  it('comes back early with what it has when the signal says so', async () => {
    const file = join(await temporaryFolder(), 'text.txt');
    await writeFile(file, grammarText(5000));
    const abort = new AbortController();
    const trained = await train(mine, {
      data: [text(file)],
      steps: 50,
      learningRate: 0.01,
      batch: { size: 1, length: 8 },
      signal: abort.signal,
      onStep: ({ step }) => step === 2 && abort.abort(),
    });
    expect(trained.step).toBeLessThan(6);
  });

  it('refuses what cannot be meant', async () => {
    const file = join(await temporaryFolder(), 'text.txt');
    await writeFile(file, grammarText(2000));
    await expect(train(mine, { data: text(file), steps: 0, learningRate: 1 })).rejects.toMatchObject({
      code: 'train-options',
    });
    await expect(train(mine, { data: text(file), steps: 1, learningRate: Number.NaN })).rejects.toMatchObject({
      code: 'train-options',
    });
    await expect(
      train(mine, { data: text(file), steps: 1, learningRate: 1, tokenizer: bpe({ vocabSize: 300 }) }),
    ).rejects.toMatchObject({ code: 'vocabulary-mismatch' });
  });
});

describe('configOf', () => {
  it('gives LFM2 where the layers are its own', () => {
    expect(configOf(mine, ids)).toMatchObject({
      model_type: 'lfm2',
      num_attention_heads: 2,
      num_key_value_heads: 1,
      tie_word_embeddings: true,
      bos_token_id: 2,
    });
  });

  it.each([
    ['convolutions that differ', [c, layer(shortConv({ kernel: 4 }), mlp)]],
    ['SwiGLUs that differ', [c, layer(shortConv({ kernel: 3 }), swiglu({ intermediateSize: 16 }))]],
    ['a window', [layer(attention({ heads: 2, window: 4 }), mlp)]],
    ['another operator', [stack(block(swiglu({ intermediateSize: 8 })))]],
  ])('has none for %s', (_, layers) => {
    expect(() => configOf(defineModel({ vocabSize: 5, hiddenSize: 16, layers }), ids)).toThrow(
      expect.objectContaining({ code: 'no-config' }),
    );
  });
});
