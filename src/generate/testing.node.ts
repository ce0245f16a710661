// For tests: the engines present, the fixture model with its oracle, and a small model folder with a vocabulary of its own.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openEngine } from '#engine';
import type { Buffer, Engine } from '../engines/engine.ts';
import { writeFileAtomic } from '../files/atomic.node.ts';
import { writeSafetensors } from '../files/safetensors-write.ts';
import { openSafetensors } from '../files/safetensors.node.ts';
import { initialise } from '../liquid/initialise.ts';
import type { Model } from '../liquid/index.ts';
import { lfm2, modelFromConfig, toHuggingFace } from '../models/index.ts';
import { trainBpe } from '../text/bpe-train.ts';
import { formatTokenizerJson } from '../text/tokenizer-json-write.ts';

/** For `describe.each`: a title with `[%s]`, and how to open the engine. */
export const engines = ['reference', 'onnx'].map((name): [string, () => Promise<Engine>] => [
  name,
  () => openEngine({ name, threads: 1 }),
]);

const fixture = new URL('../../test/fixtures/lfm2/tiny/', import.meta.url);

async function readArrays(name: string): Promise<Record<string, Float32Array>> {
  await using file = await openSafetensors(new URL(name, fixture).pathname);
  const found: Record<string, Float32Array> = {};
  for (const key of file.tensors.keys()) found[key] = await file.readFloat32(key);
  return found;
}

/** The tiny LFM2, its weights, two rows of 17 tokens, and transformers' logits [2, 17, 128] for them. */
export async function readFixture() {
  const model = modelFromConfig(JSON.parse(await readFile(new URL('config.json', fixture), 'utf8')));
  const expected: { ids: [number[], number[]] } = JSON.parse(await readFile(new URL('expected.json', fixture), 'utf8'));
  const { logits = new Float32Array() } = await readArrays('expected.safetensors');
  const logitsAt = (row: number, position: number) =>
    logits.slice((row * 17 + position) * 128, (row * 17 + position + 1) * 128);
  return { model, weights: await readArrays('model.safetensors'), rows: expected.ids, logitsAt };
}

export async function upload(
  engine: Engine,
  model: Model,
  weights: Readonly<Record<string, Float32Array>>,
): Promise<Record<string, Buffer>> {
  const buffers: Record<string, Buffer> = {};
  for (const [name, { shape }] of Object.entries(model.parameters))
    buffers[name] = await engine.upload('float32', shape, weights[name] ?? new Float32Array());
  return buffers;
}

export const corpus =
  'The brook runs down the hill, past the mill and the stones — and nobody knows where it began. ' +
  'Ein Bächlein 🌊 läuft über Kiesel; 小川は流れる。 "Where to?" said the miller. "Down," said the brook, "down, down."\n';

const template =
  '{{ bos_token }}{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}' +
  '{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}';

const config = {
  vocabSize: 320,
  hiddenSize: 16,
  intermediateSize: 24,
  layerTypes: ['conv', 'full_attention'] as const,
  numAttentionHeads: 2,
  numKeyValueHeads: 1,
  ropeTheta: 10_000,
  convLCache: 3,
  convBias: false,
  normEps: 1e-5,
  initializerRange: 0.5,
  maxPositionEmbeddings: 128,
  tieWordEmbeddings: true,
  padTokenId: 0,
  bosTokenId: 1,
  eosTokenId: 2,
};

/** Writes a model folder of random weights: bfloat16, about 300 tokens, a chat template or other widths where asked for. */
export async function writeModelFolder(
  folder: string,
  { chats = false, hiddenSize = config.hiddenSize, intermediateSize = config.intermediateSize } = {},
): Promise<void> {
  const tokenizer = await trainBpe([corpus], { vocabSize: 300 });
  const sized = { ...config, hiddenSize, intermediateSize };
  const model = lfm2(sized);
  const tensors = Object.entries(initialise(model, 5)).map(([name, data]) => ({
    name,
    dtype: 'bfloat16' as const,
    shape: model.parameters[name]?.shape ?? [],
    data: new Uint16Array(Uint32Array.from(new Uint32Array(data.buffer), (bits) => bits >>> 16)),
  }));
  await writeFileAtomic(join(folder, 'model.safetensors'), (sink) => writeSafetensors(sink, tensors));
  await writeFile(join(folder, 'config.json'), JSON.stringify(toHuggingFace(sized)));
  await writeFile(join(folder, 'tokenizer.json'), formatTokenizerJson(tokenizer));
  await writeFile(
    join(folder, 'tokenizer_config.json'),
    JSON.stringify({ bos_token: '<|startoftext|>', eos_token: { content: '<|im_end|>' } }),
  );
  if (chats) await writeFile(join(folder, 'chat_template.jinja'), template);
}
