// Folders that training starts from and leaves behind: a checkpoint's own names kept, weights in one file or several.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeFolderAtomic } from '../files/atomic.node.ts';
import { openModelFolder } from '../files/folder.node.ts';
import type { TensorToWrite } from '../files/safetensors-write.ts';
import { writeSafetensors } from '../files/safetensors-write.ts';
import { load } from '../generate/load.ts';
import { defineModel, initialise, layer, shortConv, swiglu } from '../liquid/index.ts';
import { checkpointNames, modelFromConfig } from '../models/index.ts';
import { ROOT } from '../../test/root.ts';
import { trainBpe } from '../text/bpe-train.ts';
import { formatTokenizerJson } from '../text/tokenizer-json-write.ts';
import { openCheckpoint } from './checkpoint.node.ts';
import { addModelFiles } from './model-folder.node.ts';
import { runRecipe } from './run.node.ts';
import { grammarText, temporaryFolder, tinyRecipe } from './testing.node.ts';
import { makeVocabulary } from './vocabulary.node.ts';

const tokenizerJson = formatTokenizerJson(await trainBpe([grammarText(5000)], { vocabSize: 280 }));
const vocabulary = makeVocabulary(tokenizerJson, '<|endoftext|>', 'test');

/** As transformers saves a LlamaForCausalLM. */
const llama = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 280,
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  rope_theta: 10_000,
  tie_word_embeddings: false,
};

describe('training from a Llama folder [onnx]', () => {
  it('begins with its weights, and leaves checkpoints and a model under its names', async () => {
    const folder = await temporaryFolder();
    const [source, text, out] = ['source', 'text.txt', 'run'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    const model = modelFromConfig(llama);
    const nameOf = checkpointNames(llama);
    const values = initialise(model, 7);
    await writeFolderAtomic(source, async (writer) => {
      await writer.file('config.json', JSON.stringify(llama));
      await writer.file('tokenizer.json', tokenizerJson);
      await writer.file('model.safetensors', (sink) =>
        writeSafetensors(
          sink,
          Object.entries(model.parameters).map(([name, { shape }]) => ({
            name: nameOf(name),
            dtype: 'float32',
            shape,
            data: values[name] ?? new Float32Array(0),
          })),
        ),
      );
    });
    await writeFile(text, grammarText(20_000));
    // Steps so short that the weights stay what they were.
    const recipe = tinyRecipe({
      model: { folder: source },
      tokenizer: {},
      steps: 4,
      learningRate: 1e-6,
      optimizer: { weightDecay: 0 },
      checkpoint: { everySteps: 2, keep: 2 },
    });
    const abort = new AbortController();
    const onEvent = (event: { kind: string }): void => void (event.kind === 'step' && abort.abort());
    const stopped = await runRecipe(recipe, { data: [text], out, signal: abort.signal, onEvent });
    expect(stopped.stopped).toBe(true);
    const { final = '' } = await runRecipe(recipe, { out, resume: true });

    await using before = await openModelFolder(source).then(({ weights }) => weights);
    for (const made of [final, join(out, 'step-4')]) {
      await using after = await openModelFolder(made).then(({ weights }) => weights);
      expect(new Set(after.tensors.keys())).toEqual(new Set(before.tensors.keys()));
      for (const name of before.tensors.keys()) {
        const [old, now] = [await before.readFloat32(name), await after.readFloat32(name)];
        const worst = old.reduce((most, value, at) => Math.max(most, Math.abs(value - (now[at] ?? NaN))), 0);
        expect(worst, name).toBeLessThan(1e-5);
      }
    }
    expect([...before.tensors.keys()]).toContain('model.layers.0.mlp.gate_proj.weight');

    // As checkpoints of such models were before: under the parameters' own names.
    const [now, old] = [join(out, 'step-4'), join(folder, 'old', 'step-4')];
    await using weights = await openModelFolder(now).then((opened) => opened.weights);
    await mkdir(join(folder, 'old'));
    await writeFolderAtomic(old, async (writer) => {
      for (const name of await readdir(now))
        if (!/^(manifest|model)\./.test(name)) await writer.file(name, await readFile(join(now, name)));
      const tensors = Object.entries(model.parameters).map(([name, { shape }]) => {
        return { name, dtype: 'float32', shape, data: () => weights.readFloat32(nameOf(name)) } as const;
      });
      await writer.file('model.safetensors', (sink) => writeSafetensors(sink, tensors));
    });
    await using checkpoint = await openCheckpoint(old);
    checkpoint.check(model);
    const [key = ''] = Object.keys(model.parameters).filter((name) => name.includes('feed_forward'));
    expect(await checkpoint.reader(key)?.()).toEqual(await weights.readFloat32(nameOf(key)));
    await using speaks = await load(final);
    expect((await speaks.generate('The', { maxTokens: 2, temperature: 0 })).usage.completionTokens).toBeGreaterThan(0);
  });
});

describe('training from a folder whose tensors are fused [onnx]', () => {
  const ids = [3, 50, 7, 121, 64, 9];

  it.each(['phi3', 'openelm', 'mixtral-packed'])(
    '%s: begins with its weights, and leaves a model that load reads',
    async (name) => {
      const folder = await temporaryFolder();
      const [source, text, out] = [join(folder, 'source'), join(folder, 'text.txt'), join(folder, 'run')];
      await writeWithVocabulary(join(ROOT, 'test/fixtures/models', name), source);
      await writeFile(text, grammarText(20_000));
      const recipe = tinyRecipe({
        model: { folder: source },
        tokenizer: {},
        steps: 3,
        learningRate: 1e-7,
        optimizer: { weightDecay: 0 },
      });
      const { final = '' } = await runRecipe(recipe, { data: [text], out });
      const logits = [];
      for (const path of [source, final]) {
        await using loaded = await load(path, { engine: 'reference' });
        const state = await loaded.generator.open(ids.length);
        logits.push((await loaded.generator.feed(state, [ids]))[0] ?? new Float32Array());
        loaded.generator.release(state);
      }
      const [before, after] = logits;
      const range = Math.max(...(before ?? [])) - Math.min(...(before ?? []));
      const worst = before?.reduce((most, value, at) => Math.max(most, Math.abs(value - (after?.[at] ?? NaN))), 0);
      expect(range).toBeGreaterThan(0);
      expect(worst).toBeLessThan(1e-4 * range);
    },
  );

  /** A fixture with as many classes as the tokenizer has tokens. */
  async function writeWithVocabulary(fixture: string, path: string): Promise<void> {
    const { config, weights } = await openModelFolder(fixture);
    const classes = Number(config['vocab_size']);
    const tensors: TensorToWrite[] = [];
    for (const [name, { shape }] of weights.tensors) {
      const [rows, ...rest] = shape;
      const values = await weights.readFloat32(name);
      if (rows !== classes || !/embed|lm_head/.test(name))
        tensors.push({ name, dtype: 'float32', shape, data: values });
      else {
        const width = values.length / classes;
        const wide = Float32Array.from({ length: 280 * width }, (_, i) => values[i % values.length] ?? 0);
        tensors.push({ name, dtype: 'float32', shape: [280, ...rest], data: wide });
      }
    }
    await weights.close();
    await writeFolderAtomic(path, async (writer) => {
      await writer.file('config.json', JSON.stringify({ ...config, vocab_size: 280, dtype: 'float32' }));
      await writer.file('tokenizer.json', tokenizerJson);
      await writer.file('model.safetensors', (sink) => writeSafetensors(sink, tensors));
    });
  }
});

describe('the weights of a model', () => {
  it('that pass the size of a file stand in several behind an index, which load reads', async () => {
    const folder = await temporaryFolder();
    const model = defineModel({
      vocabSize: 280,
      hiddenSize: 8,
      layers: [layer(shortConv(), swiglu({ intermediateSize: 16 }))],
    });
    const values = initialise(model, 1);
    const read = async (key: string): Promise<Float32Array> => values[key] ?? new Float32Array(0);
    const write = (name: string, mostBytes?: number): Promise<void> =>
      writeFolderAtomic(join(folder, name), (writer) =>
        addModelFiles(writer, { model, vocabulary, read }, 'float32', mostBytes === undefined ? {} : { mostBytes }),
      );
    await write('one');
    expect(await readdir(join(folder, 'one'))).toContain('model.safetensors');
    await write('several', 2000);
    const names = (await readdir(join(folder, 'several'))).filter((name) => name.startsWith('model'));
    expect(names).toEqual([
      'model-00001-of-00003.safetensors',
      'model-00002-of-00003.safetensors',
      'model-00003-of-00003.safetensors',
      'model.safetensors.index.json',
    ]);
    const index = JSON.parse(await readFile(join(folder, 'several', 'model.safetensors.index.json'), 'utf8')) as {
      metadata: { total_size: number };
      weight_map: Record<string, string>;
    };
    expect(index.metadata.total_size).toBe(Object.values(values).reduce((sum, { byteLength }) => sum + byteLength, 0));
    expect(new Set(Object.values(index.weight_map)).size).toBe(3);
    await using weights = await openModelFolder(join(folder, 'several')).then((opened) => opened.weights);
    for (const [name, expected] of Object.entries(values)) expect(await weights.readFloat32(name)).toEqual(expected);
    const texts = [];
    for (const name of ['one', 'several']) {
      await using loaded = await load(join(folder, name));
      texts.push((await loaded.generate('The', { maxTokens: 3, temperature: 0 })).text);
    }
    expect(texts[0]).toBe(texts[1]);
  });
});
