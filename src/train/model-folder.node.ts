// The files of a trained model, as transformers and the hub lay them out, and what a checkpoint adds to them.
import type { FolderWriter } from '../files/atomic.node.ts';
import { float32ToBfloat16 } from '../files/floats.ts';
import { writeSafetensors } from '../files/safetensors-write.ts';
import type { TensorToWrite } from '../files/safetensors-write.ts';
import { addShards } from '../files/shards.ts';
import type { Model } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import { configOf } from './model-config.ts';
import type { Vocabulary } from './vocabulary.node.ts';

export interface TrainedParts {
  readonly model: Model;
  readonly vocabulary: Vocabulary;
  /** A tensor's values by key. */
  readonly read: (key: string) => Promise<Float32Array>;
}

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

/** Adds config.json, the weights (in shards where they are large), tokenizer.json and their companions. Errors: `not-finite`, `no-config`. */
export async function addModelFiles(
  folder: FolderWriter,
  parts: TrainedParts,
  dtype: 'float32' | 'bfloat16',
): Promise<void> {
  const { model, vocabulary } = parts;
  const { tokenizer, endOfText, pad } = vocabulary;
  const config = configOf(model, { pad, endOfText });
  await folder.file('config.json', json({ ...config, dtype }));
  await addShards(folder, tensorsOf(parts, [''], dtype));
  await folder.file('tokenizer.json', vocabulary.json);
  const spelt = (id: number | null): string | null => (id === null ? null : tokenizer.decode([id]));
  const [prefix = null] = tokenizer.definition.prefix;
  await folder.file(
    'tokenizer_config.json',
    json({
      tokenizer_class: 'PreTrainedTokenizerFast',
      model_max_length: model.contextLength,
      bos_token: spelt(prefix),
      eos_token: spelt(endOfText),
      pad_token: spelt(pad),
    }),
  );
  const generation = {
    bos_token_id: prefix,
    eos_token_id: config.eos_token_id ?? endOfText,
    pad_token_id: pad,
    do_sample: true,
    temperature: 0.8,
  };
  await folder.file('generation_config.json', json(generation));
}

/** Adds optimizer.safetensors: `first.NAME` and `second.NAME` for each parameter, float32. Errors: `not-finite`. */
export async function addMoments(folder: FolderWriter, parts: TrainedParts): Promise<void> {
  await folder.file('optimizer.safetensors', (sink) =>
    writeSafetensors(sink, tensorsOf(parts, ['first.', 'second.'], 'float32')),
  );
}

function tensorsOf(
  { model, read }: TrainedParts,
  prefixes: readonly string[],
  dtype: 'float32' | 'bfloat16',
): TensorToWrite[] {
  return Object.entries(model.parameters).flatMap(([name, { shape }]) =>
    prefixes.map((prefix) => ({
      name: `${prefix}${name}`,
      dtype,
      shape,
      data: async () => {
        const values = await read(`${prefix}${name}`);
        if (!values.every(Number.isFinite)) {
          throw new LfmError(
            'not-finite',
            `${prefix}${name} holds values that are not numbers, so it was not written.`,
          );
        }
        return dtype === 'bfloat16' ? float32ToBfloat16(values) : values;
      },
    })),
  );
}
