// A stored model as ONNX that a plain ONNX Runtime runs: model.onnx, its weights beside it, and the model's text files.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { lowerStandalone } from '../engines/onnx/standalone.ts';
import { writeFolderAtomic } from '../files/atomic.node.ts';
import { readManifest } from '../files/manifest.node.ts';
import { stepProgram } from '../liquid/index.ts';
import { addTextFiles } from './convert-folder.node.ts';
import type { Converted } from './convert-gguf.node.ts';
import type { ConvertOptions } from './convert.ts';
import { checkedModel, packFloats } from './convert.ts';
import { readGenerationSettings } from './settings.ts';
import type { ModelSource } from './source.ts';

/** ONNX Runtime maps tensors that begin on a page instead of copying them. */
const PAGE = 4096;
const DATA = 'model.onnx_data';
const VERSION = 1;

/**
 * Writes the folder `path`: model.onnx (graph, no weights), model.onnx_data, config.json and the tokenizer's files. `type`: how
 * matrices are stored; it computes in float32 either way. Inputs, outputs and the file's metadata: docs/onnx.md.
 * Errors: `onnx-export-unsupported`, `onnx-unsupported`, `not-finite`, `weights-mismatch`, those of `writeFolderAtomic`, the
 * reason of the signal. What stood at `path` then still does.
 */
export async function convertToOnnx(
  source: ModelSource,
  path: string,
  { type = 'float32', ...options }: ConvertOptions & { readonly type?: 'float32' | 'float16' | undefined } = {},
): Promise<Converted> {
  const { model, nameOf, read } = checkedModel(source, options);
  let offset = 0;
  const weights = Object.entries(model.parameters).map(([name, { shape }]) => {
    const dtype = shape.length < 2 ? 'float32' : type;
    const length = shape.reduce((product, size) => product * size, dtype === 'float32' ? 4 : 2);
    const place = { location: DATA, offset, length };
    offset = Math.ceil((offset + length) / PAGE) * PAGE;
    return { name, dtype, place } as const;
  });
  const growing = Object.entries(model.states).flatMap(([name, { kind }]) => (kind === 'rows' ? name : []));
  const program = stepProgram(model, { batch: 'B', length: 'T', capacity: model.contextLength, allLogits: true });
  const { stopIds } = readGenerationSettings(source.generationConfig, source.config);
  const lowering = {
    weights: Object.fromEntries(weights.map((weight) => [weight.name, weight])),
    growing: new Set(growing),
  };
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
  const { model: graph } = lowerStandalone(program, { ...lowering, metadata: { lfm: JSON.stringify(facts) } });
  await writeFolderAtomic(path, async (folder) => {
    await folder.file('model.onnx', graph);
    await folder.file(DATA, async (sink) => {
      let at = 0;
      for (const { name, dtype, place } of weights) {
        if (place.offset > at) await sink.write(new Uint8Array(place.offset - at));
        const { buffer, byteOffset, byteLength } = packFloats(await read(nameOf(name)), dtype, name);
        await sink.write(new Uint8Array(buffer, byteOffset, byteLength));
        at = place.offset + byteLength;
      }
    });
    await addTextFiles(folder, source, model, type);
  });
  const { size } = await stat(join(path, 'manifest.json'));
  const files = await readManifest(path);
  return { path, bytes: files.reduce((sum, { bytes }) => sum + bytes, size), tensors: weights.length, dtype: type };
}
