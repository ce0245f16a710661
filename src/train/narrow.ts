// Gated MLPs with fewer units than they were trained with: those stay whose weights are the largest, which changes least of
// what the layer gives. F units before, K after, D hidden.
import { withNarrowMlps } from '../liquid/index.ts';
import type { Stored } from './stored.node.ts';

const [gate, up, down] = ['w1.weight', 'w3.weight', 'w2.weight'];

/**
 * The stored model with K units in each gated MLP, those with the largest |gate row| |up row| |down column|, in their old order.
 * Errors: `bad-layers`.
 */
export function withNarrowStored(stored: Stored, intermediateSize: number): Stored {
  const { parameters } = stored;
  const model = withNarrowMlps(stored.model, intermediateSize);
  const isNarrower = (key: string) =>
    model.parameters[key]?.shape.join() !== stored.model.parameters[key]?.shape.join();
  const chosen = new Map<string, Promise<readonly number[]>>();
  const choose = async (scope: string): Promise<readonly number[]> => {
    const matrices = await Promise.all([gate, up, down].map((name) => parameters.readFloat32(`${scope}${name}`)));
    const [w1_FD = new Float32Array(), w3_FD = new Float32Array(), w2_DF = new Float32Array()] = matrices;
    const hidden = stored.model.hiddenSize;
    const units = w1_FD.length / hidden;
    const sizes = new Float64Array(units);
    for (let f = 0; f < units; f++) {
      let [gates, ups, downs] = [0, 0, 0];
      for (let d = 0; d < hidden; d++) {
        gates += (w1_FD[f * hidden + d] ?? 0) ** 2;
        ups += (w3_FD[f * hidden + d] ?? 0) ** 2;
        downs += (w2_DF[d * units + f] ?? 0) ** 2;
      }
      sizes[f] = gates * ups * downs;
    }
    const order = [...sizes.keys()].sort((a, b) => (sizes[b] ?? 0) - (sizes[a] ?? 0));
    return order.slice(0, intermediateSize).sort((a, b) => a - b);
  };
  const unitsOf = (scope: string): Promise<readonly number[]> => {
    const known = chosen.get(scope) ?? choose(scope);
    chosen.set(scope, known);
    return known;
  };
  return {
    ...stored,
    model,
    parameters: {
      ...parameters,
      whole: (key) => (isNarrower(key) ? undefined : parameters.whole(key)),
      rowsIn: (key) => (isNarrower(key) ? undefined : parameters.rowsIn(key)),
      async readFloat32(key) {
        const values = await parameters.readFloat32(key);
        if (!isNarrower(key)) return values;
        const kept = await unitsOf(key.slice(0, key.length - gate.length));
        const { shape = [] } = stored.model.parameters[key] ?? {};
        const [rows = 0, columns = 0] = shape;
        if (key.endsWith(down)) {
          const cut = new Float32Array(rows * kept.length);
          for (let d = 0; d < rows; d++)
            kept.forEach((f, k) => (cut[d * kept.length + k] = values[d * columns + f] ?? 0));
          return cut;
        }
        const cut = new Float32Array(kept.length * columns);
        kept.forEach((f, k) => cut.set(values.subarray(f * columns, (f + 1) * columns), k * columns));
        return cut;
      },
    },
  };
}
