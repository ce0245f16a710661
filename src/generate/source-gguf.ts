// A GGUF file as a stored model: the same parts as a folder of Hugging Face's has.
import { emptyMatrix, packBlocks, packedForms } from '../files/gguf-pack.ts';
import type { GgufHeader } from '../files/gguf.ts';
import { requireFinite } from '../files/quantized.ts';
import type { GgufTensorSource } from '../models/index.ts';
import { openedGguf, unpair } from '../models/index.ts';
import { LfmError } from '../tensor/error.ts';
import {
  endIdsFromGguf,
  tokenIdsFromGguf,
  tokenizerConfigFromGguf,
  tokenizerJsonFromGguf,
} from '../text/tokenizer-gguf.ts';
import type { ModelSource, StoredTensor, StoredWeights } from './source.ts';

interface GgufFile extends GgufHeader {
  readPieces(name: string, visit: (piece: Uint8Array, firstBlock: number) => void): Promise<void>;
  readFloat32(name: string): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Takes the file over: it is closed with the weights, and when this fails. Errors: as `openedGguf`; `tokenizer-…`. */
export async function openGgufSource(name: string, file: GgufFile): Promise<ModelSource> {
  try {
    const opened = openedGguf(file);
    const { tensors, rotaryFactors } = opened;
    const factors: Record<string, number[]> = {};
    for (const [key, tensor] of rotaryFactors) factors[key] = Array.from(await file.readFloat32(tensor));
    const { rope_scaling: rotary, ...rest } = opened.config;
    const config =
      rotaryFactors.length === 0 ? opened.config : { ...rest, rope_scaling: { ...Object(rotary), ...factors } };
    const ends = endIdsFromGguf(file.metadata);
    return {
      name,
      config: { ...config, ...tokenIdsFromGguf(file.metadata) },
      generationConfig: ends.length > 0 ? { eos_token_id: ends } : undefined,
      tokenizer: tokenizerJsonFromGguf(file.metadata),
      tokenizerConfig: tokenizerConfigFromGguf(file.metadata),
      chatTemplate: undefined,
      weights: weightsIn(name, file, tensors),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Matrices in blocks of 4 or 8 bits are stored packed; all others are read as floats. */
function weightsIn(name: string, file: GgufFile, tensors: ReadonlyMap<string, GgufTensorSource>): StoredWeights {
  const formOf = ({ from, shape }: GgufTensorSource) =>
    shape.length === 2 ? packedForms.get(file.tensors.get(from)?.type.name ?? '') : undefined;
  const find = (key: string): GgufTensorSource => {
    const tensor = tensors.get(key);
    if (!tensor) throw new LfmError('tensor-missing', `${name} has no tensor for ${key}.`);
    return tensor;
  };
  return {
    tensors: new Map(
      [...tensors].map(([key, tensor]): [string, StoredTensor] => {
        const form = formOf(tensor);
        return [
          key,
          { shape: tensor.shape, byteLength: tensor.byteLength, dtype: tensor.dtype, ...(form && { quantized: form }) },
        ];
      }),
    ),
    async readFloat32(key) {
      const { from, pairedHeads, plusOne, shape } = find(key);
      const x = await file.readFloat32(from);
      if (plusOne) return x.map((value) => value - 1);
      return pairedHeads === undefined ? x : unpair(x, pairedHeads, shape.at(-1) ?? 1);
    },
    async readQuantized(key) {
      const tensor = find(key);
      const { from, pairedHeads, shape } = tensor;
      const form = formOf(tensor);
      if (!form) throw new LfmError('tensor-not-packed', `${name}: ${key} is stored in a type that is not packed.`);
      const rows = shape[0] ?? 1;
      const read = emptyMatrix((rows * (shape[1] ?? 1)) / form.block, form);
      await file.readPieces(from, (piece, block) => packBlocks(piece, form, read, block));
      const inOrder = <T extends Uint8Array | Float32Array>(x: T): T =>
        pairedHeads === undefined ? x : unpair(x, pairedHeads, x.length / rows);
      const { packed, scales, minimums } = read;
      const matrix = {
        packed: inOrder(packed),
        scales: inOrder(scales),
        ...(minimums && { minimums: inOrder(minimums) }),
      };
      requireFinite(key, matrix);
      return matrix;
    },
    close: () => file.close(),
  };
}
