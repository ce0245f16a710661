// A model's folder with its matrices packed: 4 or 8 bits by rounding to the nearest level, embedding and head included.
import type { FolderWriter } from '../files/atomic.node.ts';
import { writeFolderAtomic } from '../files/atomic.node.ts';
import { bfloat16ToFloat32, float32ToBfloat16, float32ToFloat16 } from '../files/floats.ts';
import type { QuantizedMatrix } from '../files/quantized.ts';
import { quantizeMatrix } from '../files/quantized.ts';
import type { TensorToWrite } from '../files/safetensors-write.ts';
import { writeSafetensors } from '../files/safetensors-write.ts';
import type { OperatorConstructor } from '../liquid/index.ts';
import { formsFor } from '../liquid/index.ts';
import { checkpointNames } from '../models/index.ts';
import type { QuantizedForm } from '../tensor/index.ts';
import { byteLength, countOf, LfmError, quantizedTypes } from '../tensor/index.ts';
import { packedConfig } from './source-packed.ts';
import type { ModelSource } from './source.ts';
import { definedModel } from './weights.ts';

export interface QuantizeOptions {
  readonly bits: 4 | 8;
  /** 32 or 128. */
  readonly block: number;
  readonly operators?: readonly OperatorConstructor[];
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
}

export interface Quantized {
  /** Bytes of the tensors, as they were stored and as they are. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Tensors that were packed, those that were packed so already and were kept, and those that stay floats. */
  readonly packed: readonly string[];
  readonly kept: readonly string[];
  readonly floats: readonly string[];
}

/**
 * Writes the folder `out`. A matrix that the source holds in the same bits and blocks is kept as it is, to the last bit.
 * Errors: `nothing-to-quantize`, `not-finite`, `out-of-range`; those of reading and of `writeFolderAtomic`.
 */
export async function quantizeModel(source: ModelSource, out: string, options: QuantizeOptions): Promise<Quantized> {
  const { bits, block } = options;
  const { model, parameters } = definedModel(source, options.operators);
  const forms = formsFor(model, { bits, block, affine: false });
  if (Object.keys(forms).length === 0)
    throw new LfmError(
      'nothing-to-quantize',
      `${source.name} has no matrix whose rows are whole blocks of ${block}: give a smaller --block, or leave it as it is.`,
    );
  const nameOf = checkpointNames(source.config);
  const tensors: TensorToWrite[] = [];
  const [packed, kept, floats]: [string[], string[], string[]] = [[], [], []];
  for (const [parameter, { shape }] of Object.entries(model.parameters)) {
    const name = nameOf(parameter);
    const form = forms[parameter];
    if (!form) {
      floats.push(name);
      tensors.push(await floatTensor(name, shape, () => parameters.readFloat32(parameter)));
      continue;
    }
    const whole = parameters.whole(parameter) ?? name;
    const stored = source.weights.tensors.get(whole)?.quantized;
    const same = stored?.bits === bits && stored.block === block ? stored : undefined;
    (same ? kept : packed).push(name);
    const read = same
      ? () => source.weights.readQuantized(whole)
      : async () => quantizeMatrix(await parameters.readFloat32(parameter), shape, form);
    tensors.push(...packedTensors(name, shape, same ?? form, read));
  }
  await writeFolderAtomic(out, (folder) => addFiles(folder, source, tensors, options));
  return {
    bytesBefore: [...parameters.tensors.values()].reduce((sum, tensor) => sum + tensor.byteLength, 0),
    bytesAfter: tensors.reduce((sum, { dtype, shape }) => sum + byteLength(dtype, countOf(shape)), 0),
    packed,
    kept,
    floats,
  };
}

/** The parts of one matrix. It is made for each of them anew: the file holds all scales before all levels. */
function packedTensors(
  name: string,
  shape: readonly number[],
  form: QuantizedForm,
  read: () => Promise<QuantizedMatrix>,
): TensorToWrite[] {
  const half = async (part: 'scales' | 'minimums') => float32ToFloat16((await read())[part] ?? new Float32Array());
  return Object.entries(quantizedTypes(shape, form)).map(([part, type]) => ({
    name: `${name}.${part}`,
    dtype: part === 'packed' ? 'uint8' : 'float16',
    shape: type.shape.map(Number),
    data: async () => (part === 'scales' || part === 'minimums' ? half(part) : (await read()).packed),
  }));
}

/** As bfloat16 where that loses nothing, which is how most checkpoints come; else as float32. */
async function floatTensor(
  name: string,
  shape: readonly number[],
  read: () => Promise<Float32Array>,
): Promise<TensorToWrite> {
  const values = await read();
  const narrow = bfloat16ToFloat32(float32ToBfloat16(values));
  const lossless = narrow.every((value, index) => Object.is(value, values[index]));
  return {
    name,
    dtype: lossless ? 'bfloat16' : 'float32',
    shape,
    data: async () => {
      const again = await read();
      return lossless ? float32ToBfloat16(again) : again;
    },
  };
}

async function addFiles(
  folder: FolderWriter,
  source: ModelSource,
  tensors: readonly TensorToWrite[],
  { bits, block, onProgress }: QuantizeOptions,
): Promise<void> {
  const json = (value: unknown) => `${JSON.stringify(value, undefined, 2)}\n`;
  const config = { ...(source.config as object), quantization_config: packedConfig({ bits, block }) };
  await folder.file('config.json', json(config));
  let done = 0;
  const total = tensors.length;
  const counted = tensors.map((tensor) => ({
    ...tensor,
    data: async () => {
      const data = typeof tensor.data === 'function' ? await tensor.data() : tensor.data;
      onProgress?.({ done: ++done, total });
      return data;
    },
  }));
  await folder.file('model.safetensors', (sink) => writeSafetensors(sink, counted, { format: 'pt' }));
  const others = {
    'tokenizer.json': source.tokenizer,
    'tokenizer_config.json': source.tokenizerConfig,
    'generation_config.json': source.generationConfig,
  };
  for (const [name, value] of Object.entries(others)) if (value !== undefined) await folder.file(name, json(value));
  if (source.chatTemplate !== undefined) await folder.file('chat_template.jinja', source.chatTemplate);
}
