// A stored model as a folder that transformers and vLLM load: config.json, safetensors, tokenizer, chat template.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { FolderWriter } from '../files/atomic.node.ts';
import { writeFolderAtomic } from '../files/atomic.node.ts';
import { readManifest } from '../files/manifest.node.ts';
import { addShards } from '../files/shards.ts';
import type { Model } from '../liquid/index.ts';
import { chatTemplateTexts } from './chat.ts';
import type { Converted } from './convert-gguf.node.ts';
import type { ConvertOptions, FloatType } from './convert.ts';
import { checkedModel, floatTypeOf, packFloats } from './convert.ts';
import { readGenerationSettings } from './settings.ts';
import type { ModelSource } from './source.ts';

/**
 * Writes `source` as a model folder, a tensor in memory at a time. `type`: of all tensors; without it each keeps its own
 * (float32 where it is quantised). JSON files that the source has are kept, but for the type of the weights.
 * Errors: `weights-mismatch`, `not-finite`, those of `modelFromConfig` and `writeFolderAtomic`, the reason of the signal. What
 * stood at `path` then still does.
 */
export async function convertToFolder(
  source: ModelSource,
  path: string,
  {
    type,
    maxShardBytes,
    ...options
  }: ConvertOptions & { readonly type?: FloatType | undefined; readonly maxShardBytes?: number | undefined } = {},
): Promise<Converted> {
  const { tensors, read, model } = checkedModel(source, options);
  const typed = [...tensors].map(([name, tensor]) => ({
    name,
    shape: tensor.shape,
    dtype: type ?? floatTypeOf(tensor),
  }));
  const [first] = typed;
  const dtype = typed.find(({ shape }) => shape.length > 1)?.dtype ?? first?.dtype ?? 'float32';
  await writeFolderAtomic(path, async (folder) => {
    const toWrite = typed.map((tensor) => ({
      ...tensor,
      data: async () => packFloats(await read(tensor.name), tensor.dtype, tensor.name),
    }));
    await addShards(folder, toWrite, { maxShardBytes });
    await addTextFiles(folder, source, model, dtype);
  });
  const files = await readManifest(path);
  const { size } = await stat(join(path, 'manifest.json'));
  return { path, bytes: files.reduce((sum, { bytes }) => sum + bytes, size), tensors: typed.length, dtype };
}

/** Adds config.json, generation_config.json, the tokenizer's files and the chat template. */
export async function addTextFiles(
  folder: FolderWriter,
  source: ModelSource,
  { contextLength }: Model,
  dtype: FloatType,
): Promise<void> {
  const { torch_dtype: _, ...config } = source.config as Readonly<Record<string, unknown>>;
  await folder.file('config.json', json({ ...config, dtype }));
  const { stopIds } = readGenerationSettings(source.generationConfig, source.config);
  const generation = {
    bos_token_id: config['bos_token_id'],
    eos_token_id: stopIds.length > 1 ? stopIds : stopIds[0],
    pad_token_id: config['pad_token_id'],
  };
  await folder.file('generation_config.json', json(source.generationConfig ?? generation));
  if (source.tokenizer === undefined) return;
  await folder.file('tokenizer.json', `${JSON.stringify(source.tokenizer)}\n`);
  const { sources } = chatTemplateTexts(source.tokenizerConfig ?? {}, source.chatTemplate);
  const { chat_template: stored, ...named } = (source.tokenizerConfig ?? {}) as Readonly<Record<string, unknown>>;
  const common = { tokenizer_class: 'PreTrainedTokenizerFast', model_max_length: contextLength };
  await folder.file(
    'tokenizer_config.json',
    json({ ...common, ...named, ...(Array.isArray(stored) && { chat_template: stored }) }),
  );
  if (sources['default'] !== undefined) await folder.file('chat_template.jinja', sources['default']);
}

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
