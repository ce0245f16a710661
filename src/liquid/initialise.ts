// Fresh weights: the same seed gives the same numbers everywhere, and each parameter its own, whatever else a model has.
import { countOf, Random, streamOf } from '../tensor/index.ts';
import type { Model } from './model.ts';

/** A float32 array for each parameter, by its name. */
export function initialise(model: Pick<Model, 'parameters'>, seed: number): Record<string, Float32Array> {
  const arrays: Record<string, Float32Array> = {};
  for (const [name, { shape, init }] of Object.entries(model.parameters)) {
    const array = new Float32Array(countOf(shape));
    if ('std' in init) new Random(seed, streamOf(name)).fillNormal(array, init.std);
    else if ('uniform' in init) {
      const random = new Random(seed, streamOf(name));
      for (let i = 0; i < array.length; i++) array[i] = init.uniform * (2 * random.uniform() - 1);
    } else if ('values' in init) {
      const { values } = init;
      for (let i = 0; i < array.length; i += values.length) array.set(values, i);
    } else array.fill(init.value);
    arrays[name] = array;
  }
  return arrays;
}
