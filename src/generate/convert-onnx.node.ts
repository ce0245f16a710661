// A stored model as ONNX that a plain ONNX Runtime runs: model.onnx, its weights beside it, and the model's text files.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Derived } from '../engines/onnx/lowering.ts';
import { lowerStandalone } from '../engines/onnx/standalone.ts';
import { writeFolderAtomic } from '../files/atomic.node.ts';
import { readManifest } from '../files/manifest.node.ts';
import type { QuantizedMatrix } from '../files/quantized.ts';
import { quantizeMatrix } from '../files/quantized.ts';
import type { Model, QuantizedForms } from '../liquid/index.ts';
import { formsFor, stepProgram, withQuantized } from '../liquid/index.ts';
import type { HostArray, QuantizedForm } from '../tensor/index.ts';
import { byteLength, countOf, LfmError } from '../tensor/index.ts';
import { addTextFiles } from './convert-folder.node.ts';
import type { Converted } from './convert-gguf.node.ts';
import type { ConvertOptions } from './convert.ts';
import { checkedModel, packFloats } from './convert.ts';
import { readGenerationSettings } from './settings.ts';
import type { ModelSource } from './source.ts';

const DATA = 'model.onnx_data';
const VERSION = 1;

const BLOCK = 32;

export type OnnxType = 'float32' | 'float16' | 'int8' | 'int4';

/**
 * Writes the folder `path`: model.onnx (graph, no weights), model.onnx_data, config.json and the tokenizer's files. `type`: how
 * matrices are stored; it computes in float32 whatever it is. With int8 and int4 matrices whose rows are whole blocks of 32 are
 * packed, with int4 the vocabulary's tables in 8 bits; what the source holds in as few bits or fewer is kept to the last bit.
 * Inputs, outputs and the file's metadata: docs/onnx.md.
 * Errors: `nothing-to-quantize`, `onnx-export-unsupported`, `onnx-unsupported`, `not-finite`, `weights-mismatch`, those of `writeFolderAtomic`, the
 * reason of the signal. What stood at `path` then still does.
 */
export async function convertToOnnx(
  source: ModelSource,
  path: string,
  { type = 'float32', ...options }: ConvertOptions & { readonly type?: OnnxType | undefined } = {},
): Promise<Converted> {
  const { model, weights, read } = weightsFor(source, type, options);
  const growing = Object.entries(model.states).flatMap(([name, { kind }]) => (kind === 'rows' ? name : []));
  const program = stepProgram(model, { batch: 'B', length: 'T', capacity: model.contextLength, allLogits: true });
  const { stopIds } = readGenerationSettings(source.generationConfig, source.config);
  const lowering = { weights, growing: new Set(growing), file: DATA };
  // Twice, since the model's metadata names its ports; it is made from their shapes alone and takes little.
  const { inputs, outputs } = lowerStandalone(program, { ...lowering, metadata: {} });
  const facts = {
    version: VERSION,
    name: source.name,
    modelType: model.config?.['model_type'] ?? null,
    vocabulary: model.head.classes,
    contextLength: model.contextLength,
    endTokens: stopIds,
    weights: type,
    inputs,
    outputs,
  };
  const { model: graph, data } = lowerStandalone(program, { ...lowering, metadata: { lfm: JSON.stringify(facts) } });
  await writeFolderAtomic(path, async (folder) => {
    await folder.file('model.onnx', graph);
    await folder.file(DATA, async (sink) => {
      let at = 0;
      for (const { name, place, derived } of data) {
        if (place.offset > at) await sink.write(new Uint8Array(place.offset - at));
        await sink.write(derived ? await made(derived, read) : await read(name));
        at = place.offset + place.length;
      }
    });
    await addTextFiles(folder, source, model, type === 'float16' ? type : 'float32');
  });
  const { size } = await stat(join(path, 'manifest.json'));
  const files = await readManifest(path);
  const tensors = Object.keys(model.parameters).length;
  return { path, bytes: files.reduce((sum, { bytes }) => sum + bytes, size), tensors, dtype: type };
}

type Read = (name: string) => Promise<Uint8Array>;

async function made({ dtype, dims, from, fill }: Derived, read: Read): Promise<Uint8Array> {
  const into = new Uint8Array(byteLength(dtype, countOf(dims)));
  const parts: Uint8Array[] = [];
  for (const name of from) parts.push(await read(name));
  fill(into, ...parts);
  return into;
}

/** The model as it is to be held, how each input of its programs that is a weight is stored, and what reads one. */
function weightsFor(source: ModelSource, type: OnnxType, options: ConvertOptions) {
  const { model, nameOf, read, signal } = { ...checkedModel(source, options), ...options };
  const forms = type === 'int4' || type === 'int8' ? packedForms(source, model, nameOf, type) : {};
  const held = withQuantized(model, forms, 'float32');
  const weights: Record<string, 'float32' | 'float16' | 'uint8'> = {};
  const reads: Record<string, () => Promise<HostArray>> = {};
  for (const [name, { shape }] of Object.entries(model.parameters)) {
    const form = forms[name];
    if (!form) {
      const dtype = shape.length > 1 && type === 'float16' ? type : 'float32';
      weights[name] = dtype;
      reads[name] = async () => packFloats(await read(nameOf(name)), dtype, name);
      continue;
    }
    const stored = source.weights.tensors.get(nameOf(name))?.quantized;
    const matrix = async (): Promise<QuantizedMatrix> => {
      signal?.throwIfAborted();
      if (stored === form) return source.weights.readQuantized(nameOf(name));
      return quantizeMatrix(await read(nameOf(name)), shape, form);
    };
    for (const part of ['packed', 'scales', 'minimums'] as const) {
      if (part === 'minimums' && !form.affine) continue;
      weights[`${name}.${part}`] = part === 'packed' ? 'uint8' : 'float32';
      reads[`${name}.${part}`] = async () => (await matrix())[part] ?? new Float32Array();
    }
  }
  const bytesOf: Read = async (name) => {
    const { buffer, byteOffset, byteLength: length } = (await reads[name]?.()) ?? new Uint8Array();
    return new Uint8Array(buffer, byteOffset, length);
  };
  return { model: held, weights, read: bytesOf };
}

/** What is packed, and how: as it is stored where that takes no more bits than asked for. */
function packedForms(
  source: ModelSource,
  model: Model,
  nameOf: (parameter: string) => string,
  type: 'int4' | 'int8',
): QuantizedForms {
  const wanted = formsFor(model, { bits: 8, block: BLOCK, affine: false });
  if (Object.keys(wanted).length === 0)
    throw new LfmError(
      'nothing-to-quantize',
      `${source.name} has no matrix whose rows are whole blocks of ${BLOCK}: write it as float32 or float16.`,
    );
  const entries = Object.entries(wanted).map(([name, form]): [string, QuantizedForm] => {
    const bits = type === 'int8' || model.parameters[name]?.axes.includes('vocabulary') ? 8 : 4;
    const stored = source.weights.tensors.get(nameOf(name))?.quantized;
    return [name, stored && stored.bits <= bits ? stored : { ...form, bits }];
  });
  return Object.fromEntries(entries);
}
