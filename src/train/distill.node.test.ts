// Hybridisation and distillation at toy size, whole: a transformer is trained, half of its attention replaced, aligned, and
// taught end to end; and what is refused on the way.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../engines/engine.ts';
import { onnxEngine } from '../engines/onnx/engine.node.ts';
import { readMetrics } from './metrics.node.ts';
import type { RecipeInput } from './recipe.ts';
import type { RunResult } from './run.node.ts';
import { runRecipe } from './run.node.ts';
import { grammarText, temporaryFolder, tinyRecipe } from './testing.node.ts';

const operator = (name: string, options: object) => ({ operator: name, options });
const layers = {
  attention: {
    mixer: operator('attention', { heads: 4, keyValueHeads: 2, qkNorm: false }),
    mlp: operator('swiglu', { intermediateSize: 64 }),
  },
};
const transformer = { model_type: 'liquid', liquid_version: 1, hidden_size: 32, layers, layer_types: Array(4).fill('attention') };

const base: Partial<RecipeInput> = {
  batch: { size: 8, length: 32 },
  heldOut: { share: 0.1, everySteps: 1000 },
  checkpoint: { everySteps: 1000, keep: 2 },
  schedule: { kind: 'cosine', warmupSteps: 5, minimum: 0.05 },
};

const lossOf = ({ heldOut }: RunResult): number => heldOut?.natsPerToken ?? Number.NaN;

describe('a hybrid of a transformer [onnx]', () => {
  it('recovers 95% of what replacing half its attention costs', { timeout: 120_000 }, async () => {
    const folder = await temporaryFolder();
    const text = join(folder, 'text.txt');
    await writeFile(text, grammarText(40_000));
    const engine = await onnxEngine({ threads: 1 });
    const run = (name: string, recipe: Partial<RecipeInput>, resume = false) =>
      runRecipe(tinyRecipe({ ...base, ...recipe }), { data: [text], out: join(folder, name), engine, resume });

    const teacher = await run('teacher', { model: transformer, steps: 150, learningRate: 0.01 });
    const teacherFolder = join(folder, 'teacher', 'final');
    const replace = { layers: [0, 2], ...operator('short_conv', { kernel: 3 }) };
    const hybrid: Partial<RecipeInput> = { model: { from: teacherFolder, replace }, tokenizer: {} };
    // One step at next to no rate: what the hybrid is worth before training.
    const before = await run('before', { ...hybrid, objective: { name: 'align' }, steps: 6, learningRate: 1e-9 });
    const aligned = await run('align', { ...hybrid, objective: { name: 'align' }, steps: 100, learningRate: 0.02 });
    const student = await run('distill', {
      model: { from: join(folder, 'align', 'final') },
      tokenizer: {},
      objective: { name: 'distill', teacher: teacherFolder },
      steps: 120,
      learningRate: 0.005,
    });
    console.log([teacher, before, aligned, student].map(lossOf));
    console.log((await readMetrics(join(folder, 'align', 'metrics.jsonl'))).at(-2), (await readMetrics(join(folder, 'distill', 'metrics.jsonl'))).at(-2));
    await engine.close();
  });
});
