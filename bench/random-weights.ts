// A definition's weights on an accelerator: random, made where they lie.
import type { Buffer, Engine } from '../src/engines/engine.ts';
import type { Model } from '../src/liquid/index.ts';
import { cast, trace } from '../src/tensor/index.ts';
import { deviceWeights } from '../src/train/device-weights.ts';

/** By name; one after another, so that no two wide ones are held that are to be narrow. */
export async function randomWeights(
  engine: Engine,
  model: Model,
  dtype: 'float32' | 'bfloat16',
): Promise<Record<string, Buffer>> {
  const made = deviceWeights(engine, model, 1);
  const weights: Record<string, Buffer> = {};
  for (const [name, { shape }] of Object.entries(model.parameters)) {
    const wide = await made.make(name, undefined);
    if (!wide) continue;
    if (dtype === 'float32') {
      weights[name] = wide;
      continue;
    }
    const narrow = await engine.compile(
      trace('narrow', { x: { dtype: 'float32', shape } }, ({ x }) => ({ y: cast(x, dtype) })),
    );
    const { y } = await narrow.run({ x: wide });
    if (y) weights[name] = y;
    wide.dispose();
    narrow.release();
  }
  made.dispose();
  return weights;
}
