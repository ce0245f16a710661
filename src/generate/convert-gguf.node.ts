// A stored model as one GGUF file that llama.cpp loads: weights, tokenizer and chat template.
import { stat } from 'node:fs/promises';
import { writeFileAtomic } from '../files/atomic.node.ts';
import type { GgufWriteType } from '../files/gguf-quantise.ts';
import type { GgufWriteValue } from '../files/gguf-write.ts';
import { writeGguf } from '../files/gguf-write.ts';
import { pair, toGguf } from '../models/index.ts';
import type { GgufExport } from '../models/index.ts';
import { ggufTokenizer } from '../text/tokenizer-gguf-write.ts';
import { readTokenizerJson } from '../text/tokenizer-json.ts';
import { chatTemplateTexts } from './chat.ts';
import type { ConvertOptions } from './convert.ts';
import { checkedModel, floatTypeOf, requireHalf } from './convert.ts';
import { readGenerationSettings } from './settings.ts';
import type { ModelSource, StoredTensor } from './source.ts';

/** llama.cpp's numbers for what most tensors of a file are. */
const fileTypes: Readonly<Record<GgufWriteType, number>> = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 7, BF16: 32 };
const kept: Readonly<Record<ReturnType<typeof floatTypeOf>, GgufWriteType>> = {
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
};
const BLOCK = 32;

export interface Converted {
  readonly path: string;
  readonly bytes: number;
  readonly tensors: number;
  /** What most tensors are. */
  readonly dtype: string;
}

/**
 * Writes `source` as GGUF, a tensor in memory at a time. `type`: of matrices; without it each keeps its own (float32 where it
 * is quantised). Norms and convolutions are F32 always; with Q4_0 the tables of the vocabulary are Q8_0; rows that are no
 * whole number of blocks are F16.
 * Errors: `gguf-architecture-unsupported`, `gguf-model-unsupported`, `tokenizer-unsupported`, `weights-mismatch`,
 * `not-finite`, those of `writeFileAtomic`, the reason of the signal. What stood at `path` then still does.
 */
export async function convertToGguf(
  source: ModelSource,
  path: string,
  { type, ...options }: ConvertOptions & { readonly type?: GgufWriteType | undefined } = {},
): Promise<Converted> {
  const { tensors, read } = checkedModel(source, options);
  const exported = toGguf(source.config, Object.fromEntries([...tensors].map(([key, { shape }]) => [key, shape])));
  const typed = exported.tensors.map((tensor) => ({ ...tensor, type: typeOf(tensor, tensors.get(tensor.from), type) }));
  const most = type ?? commonest(typed.filter(({ isFloat32 }) => !isFloat32).map((tensor) => tensor.type));
  const metadata = {
    ...exported.metadata,
    'general.name': source.name,
    'general.file_type': { type: 'uint32', value: fileTypes[most] },
    'general.quantization_version': { type: 'uint32', value: 2 },
    ...tokenizerOf(source, exported),
  } satisfies Record<string, GgufWriteValue>;
  const toWrite = typed.map((tensor) => ({
    ...tensor,
    data: async () => {
      const values = await read(tensor.from);
      if (tensor.type === 'F16') requireHalf(values, tensor.from);
      return tensor.pairedHeads === undefined ? values : pair(values, tensor.pairedHeads, tensor.shape.at(-1) ?? 1);
    },
  }));
  await writeFileAtomic(path, (sink) => writeGguf(sink, toWrite, metadata));
  return { path, bytes: (await stat(path)).size, tensors: typed.length, dtype: most };
}

function typeOf(
  { isFloat32, isVocabulary, shape }: GgufExport['tensors'][number],
  stored: StoredTensor | undefined,
  wanted: GgufWriteType | undefined,
): GgufWriteType {
  if (isFloat32) return 'F32';
  if (wanted !== 'Q8_0' && wanted !== 'Q4_0') return wanted ?? (stored ? kept[floatTypeOf(stored)] : 'F32');
  if ((shape.at(-1) ?? 0) % BLOCK !== 0) return 'F16';
  return isVocabulary ? 'Q8_0' : wanted;
}

function commonest(types: readonly GgufWriteType[]): GgufWriteType {
  const count = (type: GgufWriteType) => types.filter((other) => other === type).length;
  return types.reduce((best, type) => (count(type) > count(best) ? type : best), types[0] ?? 'F32');
}

function tokenizerOf(source: ModelSource, { metadata, tensors }: GgufExport): Record<string, GgufWriteValue> {
  if (source.tokenizer === undefined) return {};
  const tokenizer = readTokenizerJson(source.tokenizer);
  const { sources, names } = chatTemplateTexts(source.tokenizerConfig ?? {}, source.chatTemplate);
  const ids = source.config as Readonly<Record<string, unknown>>;
  const idOf = (key: string): number | undefined => {
    const id = ids[key];
    return typeof id === 'number' ? id : undefined;
  };
  const named = tokenizer.definition.addedTokens.find(({ content }) => content === names.bos_token)?.id;
  const { stopIds } = readGenerationSettings(source.generationConfig, source.config);
  const architecture = metadata['general.architecture'];
  return ggufTokenizer(tokenizer, {
    vocabSize: tensors.find(({ from }) => from === 'model.embed_tokens.weight')?.shape[0] ?? 0,
    bosId: named ?? idOf('bos_token_id'),
    endIds: stopIds,
    padId: idOf('pad_token_id'),
    chatTemplate: sources['default'],
    ...(typeof architecture === 'string' && { architecture }),
  });
}
