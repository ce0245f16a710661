// For tests: LoRA adapters of random numbers, as peft's folders.
import { factorNames, withLowRank } from '../liquid/index.ts';
import { Random, streamOf } from '../tensor/index.ts';
import { saveAdapter } from './adapter-folder.node.ts';
import { openSource } from './source.node.ts';
import { definedModel } from './weights.ts';

const targets = ['conv.in_proj', 'self_attn.q_proj', 'self_attn.out_proj', 'feed_forward.w1', 'feed_forward.w2'];

/** Writes an adapter of the model in a folder. */
export async function writeAdapterFolder(path: string, modelFolder: string, seed: number): Promise<void> {
  const source = await openSource(modelFolder);
  const { model, parameters } = definedModel(source);
  const matrices = Object.keys(model.parameters).filter((key) => targets.some((one) => key.endsWith(`${one}.weight`)));
  const adapted = withLowRank(model, Object.fromEntries(matrices.map((key) => [key, { rank: 3, scale: 2 }])));
  const values = new Map(
    matrices.flatMap((key) =>
      Object.values(factorNames(key)).map((factor) => {
        const [rows = 0, columns = 0] = adapted.parameters[factor]?.shape ?? [];
        const array = new Float32Array(rows * columns);
        new Random(seed, streamOf(factor)).fillNormal(array, 0.2);
        return [factor, array];
      }),
    ),
  );
  const read = async (key: string) => values.get(key) ?? new Float32Array();
  await saveAdapter(path, { model: adapted, parameters, read });
  await source.weights.close();
}
