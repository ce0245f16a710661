// A model of LFM2-350M's shape with random weights as a GGUF file of Q4_0, which lfm and llama.cpp both load.
import { convertToGguf } from '../src/generate/convert-gguf.node.ts';
import { openSource } from '../src/generate/source.node.ts';
import { initialise } from '../src/liquid/index.ts';
import type { Model } from '../src/liquid/index.ts';
import { checkpointNames, lfm2, toHuggingFace } from '../src/models/index.ts';
import { lfm2Configs } from '../src/models/lfm2-sizes.ts';
import { countOf, LfmError } from '../src/tensor/index.ts';

/** Writes it to `path`, with the tokenizer of brook-7m: its tokens' names matter to nobody. */
export async function writeRandomModel(path: string): Promise<void> {
  const config = lfm2Configs['lfm2-350m'];
  const model: Model = lfm2(config);
  const json = toHuggingFace(config);
  const nameOf = checkpointNames(json);
  const parameters = new Map(Object.entries(model.parameters).map(([key, one]) => [nameOf(key), { key, one }]));
  const tokenizer = await openSource('brook-7m');
  await tokenizer.weights.close();
  const shapeOf = (shape: readonly unknown[]) => shape.map(Number);
  const weights = {
    tensors: new Map(
      [...parameters].map(([name, { one }]) => {
        const shape = shapeOf(one.shape);
        return [name, { shape, byteLength: 4 * countOf(shape), dtype: 'float32' }] as const;
      }),
    ),
    async readFloat32(name: string): Promise<Float32Array> {
      const found = parameters.get(name);
      if (!found) throw new LfmError('tensor-missing', `No tensor is called ${name}.`);
      const { [found.key]: values = new Float32Array() } = initialise({ parameters: { [found.key]: found.one } }, 0);
      return values;
    },
    readQuantized: (name: string) => Promise.reject(new LfmError('tensor-not-packed', `${name} is not packed.`)),
    close: () => Promise.resolve(),
  };
  const source = {
    ...tokenizer,
    name: 'LFM2-350M shape, random weights',
    config: json,
    generationConfig: undefined,
    chatTemplate: undefined,
    weights,
  };
  await convertToGguf(source, path, { type: 'Q4_0' });
}
