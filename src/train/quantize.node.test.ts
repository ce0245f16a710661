// Finishing for int4: the model that `lfm quantize` makes of it is closer to the floats' than one that knew nothing of it.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { load } from '../generate/load.ts';
import { quantizeModel } from '../generate/quantize.node.ts';
import { openSource } from '../generate/source.node.ts';
import type { RecipeInput } from './recipe.ts';
import { runRecipe } from './run.node.ts';
import { grammarText, temporaryFolder, tinyRecipe } from './testing.node.ts';

const engine = { name: 'onnx', threads: 1 };

/** Nats a token of a text that was not trained on. */
async function lossOf(folder: string): Promise<number> {
  await using model = await load(folder, { engine });
  const text = grammarText(600, 7);
  const [sum = 0] = await model.score('The', [text.slice(3)]);
  return -sum / model.encode(text).length;
}

async function packed(folder: string, out: string): Promise<number> {
  const source = await openSource(folder);
  await quantizeModel(source, out, { bits: 4, block: 32 });
  await source.weights.close();
  return lossOf(out);
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
  const model = { hiddenSize, intermediateSize: 64, layerTypes: ['conv' as const], numAttentionHeads: 2 };
  const begun = await run('begun', { model, steps: 120, learningRate: 0.02 });
  const finish = { model: { from: begun.final }, tokenizer: {}, steps: 60, learningRate: 0.005 };
  const floats = await run('floats', finish);
  const aware = await run('aware', { ...finish, quantize: { bits: 4 } });
  const exact = await lossOf(floats.final);
  const after = await packed(floats.final, join(folder, 'after-int4'));
  const finished = await packed(aware.final, join(folder, 'aware-int4'));
  expect(after - exact).toBeGreaterThan(0.02);
  expect(finished - exact).toBeLessThan((after - exact) / 2);
  // The run's own measure is the packed model's.
  expect(aware.heldOut).toBeLessThan(floats.heldOut + (after - exact) / 2);
  console.log(exact, after, finished, floats.heldOut, aware.heldOut);
});
