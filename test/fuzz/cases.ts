// The files that fuzzing damages, and the readers that must then answer with success or one clear error.
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { openModelFolder } from '../../src/files/folder.node.ts';
import { openSafetensors } from '../../src/files/safetensors.node.ts';
import { addShards } from '../../src/files/shards.ts';
import { openGguf } from '../../src/files/gguf.node.ts';
import type { TensorToWrite } from '../../src/files/safetensors-write.ts';
import { checkedModel } from '../../src/generate/convert.ts';
import { readChatTemplate } from '../../src/generate/chat.ts';
import { readGenerationSettings } from '../../src/generate/settings.ts';
import { openGgufSource } from '../../src/generate/source-gguf.ts';
import { packedWeights } from '../../src/generate/source-packed.ts';
import type { ModelSource } from '../../src/generate/source.ts';
import { writeModelFolder } from '../../src/generate/testing.node.ts';
import { modelFromConfig } from '../../src/models/index.ts';
import { LfmError } from '../../src/tensor/error.ts';
import { parseJsonObject } from '../../src/files/json.ts';
import { parseTokenizerJson, readTokenizerJson } from '../../src/text/tokenizer-json.ts';
import type { Allocations } from './allocations.ts';
import { watchAllocations } from './allocations.ts';
import type { GgufMap } from './bytes.ts';
import { mapGguf, mutateBytes, mutateGguf, mutateSafetensors } from './bytes.ts';
import { mutateJson } from './json.ts';
import { Random } from './random.ts';

export const kinds = ['safetensors', 'shards', 'folder', 'gguf', 'tokenizer', 'config'] as const;
export type Kind = (typeof kinds)[number];

type Files = Readonly<Record<string, Uint8Array>>;

/** What is damaged, sound; made once. */
export interface Seeds {
  readonly shards: Files;
  readonly folder: Files;
  readonly ggufs: readonly [Gguf, ...Gguf[]];
  readonly tokenizers: readonly [string, ...string[]];
  readonly configs: readonly [string, ...string[]];
}

interface Gguf {
  readonly bytes: Uint8Array;
  readonly map: GgufMap;
}

export interface Outcome {
  readonly kind: Kind;
  /** `ok`, the code of an LfmError, or `FAULT` with what went wrong. */
  readonly code: string;
  readonly fault?: string;
  /** Bytes of the damaged files together. */
  readonly size: number;
  /** CPU time: on a busy machine the clock says nothing of a program. */
  readonly ms: number;
  readonly allocations: Allocations;
}

/** What may be asked for besides what the size of the files allows: tables that are bounded by a number of their own. */
const BASE_BYTES = 64 * 2 ** 20;
/** A block of Q2_K has 84 bytes and becomes 1,024 of float32, and a text may hold a string as JSON, as values and as tables. */
const PER_BYTE = 64;
const MOST_MS = 1000;

const fixtures = new URL('../fixtures/', import.meta.url);
const INDEX = 'model.safetensors.index.json';
const text = new TextDecoder();
const utf8 = new TextEncoder();

export async function makeSeeds(scratch: string): Promise<Seeds> {
  const model = join(scratch, 'seed');
  await mkdir(model, { recursive: true });
  await writeModelFolder(model, { chats: true });
  await writeFile(join(model, 'generation_config.json'), '{"eos_token_id":[2,3],"temperature":0.7,"top_k":40}');
  const folder = await filesOf(model, [
    'config.json',
    'generation_config.json',
    'model.safetensors',
    'tokenizer.json',
    'tokenizer_config.json',
    'chat_template.jinja',
  ]);
  const read = (name: string) => readFile(new URL(name, fixtures));
  const gguf = async (name: string): Promise<Gguf> => {
    const bytes = new Uint8Array(await read(`gguf/${name}.gguf`));
    return { bytes, map: mapGguf(bytes) };
  };
  const configIn = z.object({ config: z.record(z.string(), z.unknown()) });
  const configs: string[] = [];
  for (const name of (await readdir(new URL('models/', fixtures))).filter((each) => each.endsWith('.json'))) {
    const found = configIn.safeParse(JSON.parse(String(await read(`models/${name}`))));
    if (found.success && isKnown(found.data.config)) configs.push(JSON.stringify(found.data.config));
  }
  const tokenizers = await Promise.all(
    ['old', 'ours', 'variant'].map(async (name) => String(await read(`tokenizer/${name}.json`))),
  );
  return {
    shards: await makeShards(),
    folder,
    ggufs: [await gguf('lfm2'), await gguf('llama'), await gguf('types'), await gguf('written')],
    tokenizers: [text.decode(folder['tokenizer.json']), ...tokenizers],
    configs: [
      text.decode(folder['config.json']),
      String(await read('lfm2/tiny/config.json')),
      LLAMA_CONFIG,
      LIQUID_CONFIG,
      LIQUID_CONFIG,
      ...configs,
    ],
  };
}

/** Whether a model of this kind can be loaded; others have an oracle before they have a configuration. */
function isKnown(config: unknown): boolean {
  try {
    modelFromConfig(config);
    return true;
  } catch (error) {
    if (error instanceof LfmError && error.code === 'unknown-model-type') return false;
    throw error;
  }
}

const LLAMA_CONFIG = JSON.stringify({
  model_type: 'llama',
  vocab_size: 64,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  rope_parameters: { rope_theta: 10000, rope_type: 'default' },
  tie_word_embeddings: true,
});
/** A layer of every operator that takes options from a file. */
const OPERATORS = {
  attention: { heads: 2, keyValueHeads: 1, theta: 1e4, window: 4, qkNorm: false, rotaryFactor: 0.5, outputGate: true },
  short_conv: { kernel: 3, bias: true },
  gated_delta: { keyHeads: 1, keyHeadDim: 8, valueHeadDim: 8, convKernel: 4, chunkSize: 16 },
  linear_attention: { heads: 2 },
  mamba2: { expand: 2, headDim: 8, stateSize: 8, nGroups: 1, convKernel: 4, chunkSize: 16 },
};
const MOE = { experts: 4, activeExperts: 2, intermediateSize: 8, routing: 'sigmoid', sharedIntermediateSize: 8 };
const LIQUID_CONFIG = JSON.stringify({
  model_type: 'liquid',
  liquid_version: 1,
  vocab_size: 64,
  hidden_size: 16,
  layers: Object.fromEntries(
    Object.entries(OPERATORS).map(([operator, options], index) => {
      const mlp =
        index % 2 === 0 ? { operator: 'swiglu', options: { intermediateSize: 24 } } : { operator: 'moe', options: MOE };
      return [operator, { mixer: { operator, options }, mlp }];
    }),
  ),
  layer_types: Object.keys(OPERATORS),
  eos_token_id: [1, 2],
});

async function filesOf(folder: string, names: readonly string[]): Promise<Files> {
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, new Uint8Array(await readFile(join(folder, name)))] as const)),
  );
}

async function makeShards(): Promise<Files> {
  const files: Record<string, Uint8Array> = {};
  const types = ['float32', 'bfloat16', 'uint8', 'float16'] as const;
  const tensors = types.map((dtype, i): TensorToWrite => {
    const data = dtype === 'float32' ? new Float32Array(6) : dtype === 'uint8' ? new Uint8Array(6) : new Uint16Array(6);
    return { name: `layers.${i}.weight`, dtype, shape: [2, 3], data };
  });
  await addShards(
    {
      async file(name, content) {
        const parts: Uint8Array[] = [];
        if (typeof content === 'string') parts.push(utf8.encode(content));
        else await content({ write: async (bytes) => void parts.push(bytes.slice()) });
        files[name] = new Uint8Array(Buffer.concat(parts));
      },
    },
    tensors,
    { maxShardBytes: 20 },
  );
  return files;
}

/** One of a folder's files damaged, the others whole. */
function mutateOne(files: Files, random: Random): Files {
  const names = Object.keys(files);
  const name = names[random.below(names.length)] ?? '';
  const bytes = files[name] ?? new Uint8Array();
  const changed = name.endsWith('.json')
    ? utf8.encode(mutateJson(text.decode(bytes), random))
    : name.endsWith('.safetensors')
      ? mutateSafetensors(bytes, random)
      : mutateBytes(bytes, random);
  return random.below(40) === 0
    ? Object.fromEntries(Object.entries(files).filter(([other]) => other !== name))
    : { ...files, [name]: changed };
}

/** The files of case number `index`, and what opens them. */
function makeCase(kind: Kind, seeds: Seeds, random: Random): { files: Files; open: (folder: string) => Promise<void> } {
  switch (kind) {
    case 'safetensors': {
      const bytes = mutateSafetensors(seeds.folder['model.safetensors'] ?? new Uint8Array(), random);
      return { files: { 'a.safetensors': bytes }, open: (folder) => readAll(join(folder, 'a.safetensors')) };
    }
    case 'shards':
      return { files: mutateOne(seeds.shards, random), open: (folder) => readAll(join(folder, INDEX)) };
    case 'folder':
      return { files: mutateOne(seeds.folder, random), open: useFolder };
    case 'gguf': {
      const { bytes, map } = random.pick(seeds.ggufs);
      return { files: { 'a.gguf': mutateGguf(bytes, map, random) }, open: (folder) => useGguf(join(folder, 'a.gguf')) };
    }
    case 'tokenizer': {
      const json = mutateJson(random.pick(seeds.tokenizers), random);
      return {
        files: { 'tokenizer.json': utf8.encode(json) },
        open: async () => void parseTokenizerJson(json).encode('The brook 🌊 runs\n\n  1234 down <|im_end|>'),
      };
    }
    case 'config': {
      const json = mutateJson(random.pick(seeds.configs), random);
      return {
        files: { 'config.json': utf8.encode(json) },
        open: async () => void modelFromConfig(parseJsonObject(json, 'config.json', 'json-file')),
      };
    }
  }
}

async function readAll(path: string): Promise<void> {
  await using file = await openSafetensors(path);
  for (const { name, dtype } of file.tensors.values())
    await (dtype.includes('float') ? file.readFloat32(name) : file.read(name));
}

async function useFolder(path: string): Promise<void> {
  const folder = await openModelFolder(path);
  await useSource({ name: 'folder', ...folder, weights: packedWeights(folder.weights, folder.config, 'folder') });
}

async function useGguf(path: string): Promise<void> {
  const file = await openGguf(path);
  if (!file.metadata.has('general.architecture')) {
    await using held = file;
    for (const name of held.tensors.keys()) await held.readFloat32(name);
    return;
  }
  await useSource(await openGgufSource('gguf', file));
}

/** As loading does, up to where an engine would come in. */
async function useSource(source: ModelSource): Promise<void> {
  try {
    const { tensors, read } = checkedModel(source);
    const tokenizer = readTokenizerJson(source.tokenizer ?? {});
    const template = readChatTemplate(tokenizer, source.tokenizerConfig ?? {}, source.chatTemplate);
    template?.encode([{ role: 'user', content: 'Where to?' }]);
    readGenerationSettings(source.generationConfig, source.config);
    for (const name of tensors.keys()) await read(name);
  } finally {
    await source.weights.close();
  }
}

/** Runs case number `index` of a seed in `scratch`, which it empties. */
export async function runCase(seeds: Seeds, seed: number, index: number, scratch: string): Promise<Outcome> {
  const random = new Random(Math.imul(seed, 0x9e3779b1) + index);
  const kind = kinds[index % kinds.length] ?? 'safetensors';
  const { files, open } = makeCase(kind, seeds, random);
  const folder = join(scratch, 'case');
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const [name, bytes] of Object.entries(files)) await writeFile(join(folder, name), bytes);
  const size = Object.values(files).reduce((sum, { length }) => sum + length, 0);
  let [code, fault] = ['ok', ''];
  const start = process.cpuUsage();
  const allocations = await watchAllocations(async () => {
    try {
      await open(folder);
    } catch (error) {
      if (error instanceof LfmError) code = error.code;
      else fault = error instanceof Error ? (error.stack ?? error.message) : String(error);
    }
  });
  const { user, system } = process.cpuUsage(start);
  const ms = (user + system) / 1000;
  const most = BASE_BYTES + PER_BYTE * size;
  const asked = Math.max(allocations.largest, allocations.heap);
  if (!fault && ms > MOST_MS) fault = `it took ${Math.round(ms)} ms`;
  if (!fault && asked > most) fault = `it asked for ${asked} bytes for files of ${size}`;
  return { kind, code: fault ? 'FAULT' : code, ...(fault && { fault }), size, ms, allocations };
}
