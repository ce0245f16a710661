// A GGUF file as a stored model: the same parts as a folder of Hugging Face's has.
import type { GgufHeader } from '../files/gguf.ts';
import { openedGguf, unpair } from '../models/index.ts';
import { LfmError } from '../tensor/error.ts';
import { endIdsFromGguf, tokenizerConfigFromGguf, tokenizerJsonFromGguf } from '../text/tokenizer-gguf.ts';
import type { ModelSource } from './source.ts';

interface GgufFile extends GgufHeader {
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
      config,
      generationConfig: ends.length > 0 ? { eos_token_id: ends } : undefined,
      tokenizer: tokenizerJsonFromGguf(file.metadata),
      tokenizerConfig: tokenizerConfigFromGguf(file.metadata),
      chatTemplate: undefined,
      weights: {
        tensors,
        async readFloat32(key) {
          const tensor = tensors.get(key);
          if (!tensor) throw new LfmError('tensor-missing', `${name} has no tensor for ${key}.`);
          const x = await file.readFloat32(tensor.from);
          if (tensor.plusOne) return x.map((value) => value - 1);
          return tensor.pairedHeads === undefined ? x : unpair(x, tensor.pairedHeads, tensor.shape.at(-1) ?? 1);
        },
        close: () => file.close(),
      },
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}
