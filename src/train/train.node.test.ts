// Training from code, and the files of a trained model.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { load } from '../generate/load.ts';
import {
  attention,
  block,
  canonicalGenome,
  defineModel,
  depthGroup,
  gatedDelta,
  genomeOf,
  layer,
  layerNormed,
  linearAttention,
  mamba2,
  modelFromGenome,
  operator,
  parseGenome,
  rms,
  shortConv,
  stack,
  swiglu,
  tiedHead,
  tokenEmbedding,
  withRounding,
} from '../liquid/index.ts';
import { catalogue } from '../models/catalogue.ts';
import { modelFromConfig } from '../models/index.ts';
import { add, mul } from '../tensor/index.ts';
import { configOf } from './model-config.ts';
import { grammarText, temporaryFolder } from './testing.node.ts';
import { bpe, text, train } from './train.node.ts';

const mlp = swiglu({ intermediateSize: 32 });
const [c, a] = [layer(shortConv({ kernel: 3 }), mlp), layer(attention({ heads: 2, keyValueHeads: 1 }), mlp)];
const mine = defineModel({ vocabSize: 280, hiddenSize: 16, layers: [c, a], contextLength: 64 });
const doubled = operator('doubled', () => ({
  scope: 'doubled',
  parameters: () => ({}),
  featurize: (_p, x) => ({ x }),
  mix: (_p, { x }, state) => [add(x, x), state],
}));
const scaled = operator('scaled', ({ scale }: { scale: () => number }) => ({
  scope: 'scaled',
  parameters: () => ({}),
  featurize: (_p, x) => ({ x }),
  mix: (_p, { x }, state) => [mul(x, scale()), state],
}));
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

  it('trains, saves and loads a model of the design space, by its genome', async () => {
    const folder = await temporaryFolder();
    const file = join(folder, 'text.txt');
    await writeFile(file, grammarText(5000));
    // Two of the classes have a second member that shares with the first.
    const low = '11111-21111-31122-41111-51211-61111-71111-81111-91111';
    const differences = [10, 14].map((id) => `${id}.1.1.1.1`);
    const genome = parseGenome([low, ...differences, '31122', '51211'].join('-'));
    const sizes = { vocabSize: 280, hiddenSize: 16, headDim: 4, intermediateSize: 16, contextLength: 64 };
    const trained = await train(modelFromGenome(genome, sizes), {
      data: text(file),
      tokenizer: bpe(),
      steps: 2,
      learningRate: 0.01,
      batch: { size: 2, length: 8 },
    });
    await trained.save(join(folder, 'genome'));
    const config: unknown = JSON.parse(await readFile(join(folder, 'genome', 'config.json'), 'utf8'));
    expect(genomeOf(modelFromConfig(config)).genome).toEqual(canonicalGenome(genome));
    await using model = await load(join(folder, 'genome'));
    expect((await model.generate('The', { maxTokens: 3 })).usage.completionTokens).toBeGreaterThan(0);
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
    ['one operator a layer', [stack(block(mlp))]],
    ['another norm', [stack(block(shortConv(), { norm: rms('input_norm'), postNorm: layerNormed('output_norm') }))]],
    ['a depth group', [depthGroup('all', a), c, depthGroup('all', a)]],
    ['linear attention', [layer(linearAttention({ heads: 2 }), mlp)]],
    ['mamba 2', [layer(mamba2({ headDim: 16, stateSize: 8, timeStepLimit: [0.1, 2] }), mlp)]],
    ['a gated delta rule', [layer(gatedDelta({ keyHeads: 2, keyHeadDim: 8, valueHeadDim: 8 }), mlp)]],
    ['an operator of its own', [layer(doubled(), mlp)]],
  ])('gives liquid for %s, read back as the same model', (_, layers) => {
    const model = defineModel({ vocabSize: 5, hiddenSize: 16, layers, tieEmbeddings: false, contextLength: 99 });
    const config = configOf(model, ids);
    expect(config).toMatchObject({ model_type: 'liquid', liquid_version: 1, eos_token_id: 2 });
    const again = modelFromConfig(JSON.parse(JSON.stringify(config)), {}, [doubled]);
    expect(again).toMatchObject({ parameters: model.parameters, states: model.states, links: model.links });
    expect(again.config).toEqual(config);
  });

  it('describes all of the catalogue, shared weights and features too', () => {
    const types = Object.values(catalogue).map((entry) => {
      const { model_type: type } = configOf({ ...entry.model(), config: undefined }, ids);
      return type;
    });
    expect(new Set(types)).toEqual(new Set(['lfm2', 'liquid']));
  });

  it('is the same however the loss rounds', () => {
    const windowed = attention({ heads: 2, qkNorm: false, window: 4, sinks: 1 });
    const model = defineModel({
      vocabSize: 64,
      hiddenSize: 32,
      layers: [layer(windowed, swiglu({ intermediateSize: 32 }))],
    });
    expect(configOf(withRounding(model, { bits: 4, block: 32 }), ids)).toEqual(configOf(model, ids));
  });

  it('says what cannot be written', () => {
    const refused = (options: Parameters<typeof defineModel>[0]) => () => configOf(defineModel(options), ids);
    const layers = [layer(scaled({ scale: () => 2 }), mlp)];
    expect(refused({ vocabSize: 5, hiddenSize: 16, layers })).toThrow(
      /layer 0: the options of scaled: scale: expected plain JSON; found a function/,
    );
    const scaledBy2 = tokenEmbedding({ vocabSize: 5, scale: 2 });
    const caps = tiedHead({ vocabSize: 5, softCap: 3 });
    const said = configOf(defineModel({ encoder: scaledBy2, head: caps, hiddenSize: 16, layers: [c] }), ids);
    expect(said).toMatchObject({ model_type: 'liquid', embedding_scale: 2, logit_soft_cap: 3 });
    const plain = tokenEmbedding({ vocabSize: 5 });
    const encoder = { ...plain, encode: (...given: Parameters<typeof plain.encode>) => mul(plain.encode(...given), 2) };
    expect(refused({ encoder, head: tiedHead({ vocabSize: 5 }), hiddenSize: 16, layers: [c] })).toThrow(
      expect.objectContaining({ code: 'no-config' }),
    );
    // One that calls itself attention and computes something else.
    const odd = { ...attention({ heads: 2 }), mix: doubled().mix, featurize: doubled().featurize };
    expect(refused({ vocabSize: 5, hiddenSize: 16, layers: [layer(odd, mlp)] })).toThrow(
      expect.objectContaining({ code: 'no-config' }),
    );
  });
});
