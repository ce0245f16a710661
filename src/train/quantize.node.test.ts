// Finishing for int4: the model that `lfm quantize` makes of it is closer to the floats' than one that knew nothing of it.
import { rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { writeFileAtomic } from '../files/atomic.node.ts';
import { openSafetensors } from '../files/safetensors.node.ts';
import { writeSafetensors } from '../files/safetensors-write.ts';
import { quantizeModel } from '../generate/quantize.node.ts';
import { openSource } from '../generate/source.node.ts';
import type { RecipeInput } from './recipe.ts';
import { runRecipe } from './run.node.ts';
import { grammarText, temporaryFolder, tinyRecipe } from './testing.node.ts';

/**
 * Makes one channel of every matrix behind a norm larger, and the norm's gain smaller: the same model, but with outliers, as
 * large models have them, by which rounding in blocks loses much.
 */
async function withOutliers(folder: string): Promise<void> {
  const path = join(folder, 'model.safetensors');
  const file = await openSafetensors(path);
  const tensors = await Promise.all(
    [...file.tensors].map(async ([name, { shape }]) => {
      const data = await file.readFloat32(name);
      const columns = shape.at(-1) ?? 1;
      const factor = /(?:operator|ffn)_norm/.test(name) ? 1 / 8 : /in_proj|w[13]\.|[qkv]_proj/.test(name) ? 8 : 1;
      for (let at = 0; at < data.length; at += columns) data[at] = (data[at] ?? 0) * factor;
      return { name, dtype: 'float32' as const, shape, data };
    }),
  );
  await file.close();
  await writeFileAtomic(path, (sink) => writeSafetensors(sink, tensors));
  await rm(join(folder, 'manifest.json'));
}

it('a model finished with its weights rounded loses less by int4 than one rounded afterwards [onnx]', async () => {
  const folder = await temporaryFolder();
  const text = join(folder, 'text.txt');
  await writeFile(text, grammarText(30_000));
  const run = async (name: string, changes: Partial<RecipeInput>) => {
    const recipe = tinyRecipe({
      data: { sources: [{ name: 'text', paths: [text] }] },
      batch: { size: 4, length: 48 },
      heldOut: { share: 0.1, everySteps: 1000 },
      checkpoint: { everySteps: 1000 },
      ...changes,
    });
    const { final = '', heldOut } = await runRecipe(recipe, { out: join(folder, name) });
    return { final, heldOut: heldOut?.natsPerToken ?? NaN };
  };
  const hiddenSize = 32;
  const model = {
    hiddenSize,
    intermediateSize: 64,
    layerTypes: ['conv' as const, 'full_attention' as const],
    numAttentionHeads: 2,
    maxPositionEmbeddings: 1024,
  };
  const begun = await run('begun', { model, steps: 100, learningRate: 0.02 });
  await withOutliers(begun.final);
  const finish = {
    model: { from: begun.final },
    tokenizer: {},
    steps: 40,
    learningRate: 0.004,
    schedule: { kind: 'cosine' as const, minimum: 0 },
  };
  const floats = await run('floats', finish);
  const aware = await run('aware', { ...finish, quantize: { bits: 4 } });
  // A step too small to change anything: what is measured is the packed model.
  const packed = async (of: string): Promise<number> => {
    const source = await openSource(of);
    const out = join(folder, `${basename(dirname(of))}-int4`);
    await quantizeModel(source, out, { bits: 4, block: 32 });
    await source.weights.close();
    const still = { ...finish, model: { from: out }, steps: 1, learningRate: 1e-20 };
    return (await run(`${basename(out)}-measured`, still)).heldOut;
  };
  const after = (await packed(floats.final)) - floats.heldOut;
  const finished = await packed(aware.final);
  expect(after).toBeGreaterThan(0.004);
  expect(finished - floats.heldOut).toBeLessThan(after / 2);
  // What the run measured was that packed model.
  expect(Math.abs(finished - aware.heldOut)).toBeLessThan(1e-5);
});
