// A definition's weights on an accelerator: random, made where they lie.
import type { Buffer, Engine } from '../src/engines/engine.ts';
import type { Model } from '../src/liquid/index.ts';
import { narrowing } from '../src/generate/narrowing.ts';
import { deviceWeights } from '../src/train/device-weights.ts';

/** By name; one after another, so that no two wide ones are held that are to be narrow. */
export async function randomWeights(
  engine: Engine,
  model: Model,
  dtype: 'float32' | 'bfloat16',
): Promise<Record<string, Buffer>> {
  const made = deviceWeights(engine, model, 1);
  const narrower = narrowing(engine);
  const weights: Record<string, Buffer> = {};
  for (const name of Object.keys(model.parameters)) {
    const wide = await made.make(name, undefined);
    if (!wide) continue;
    weights[name] = dtype === 'float32' ? wide : await narrower.narrow(wide);
  }
  narrower.dispose();
  made.dispose();
  return weights;
}
