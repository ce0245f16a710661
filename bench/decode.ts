// npm run bench -- decode: time of a token as the context grows, for a model of convolutions alone and for a hybrid, beside
// what the cost model says. Random weights: only shapes matter.
import { parseArgs } from 'node:util';
import { openEngine } from '../src/engines/default.node.ts';
import { Generator } from '../src/generate/generator.ts';
import { measureGeneration } from '../src/generate/measure.ts';
import { attention, decodeBytes, defineModel, initialise, layer, shortConv, swiglu } from '../src/liquid/index.ts';
import type { Model } from '../src/liquid/index.ts';
import { benchNumerics } from './numerics.ts';

const CONTEXTS = [64, 512, 1024, 2048] as const;

const mlp = swiglu({ intermediateSize: 1536 });
const conv = layer(shortConv({}), mlp);
const attending = layer(attention({ heads: 8, keyValueHeads: 4 }), mlp);
const common = { vocabSize: 4096, hiddenSize: 512, contextLength: 4096 };
const models: Readonly<Record<string, Model>> = {
  convolutions: defineModel({ ...common, layers: Array.from({ length: 8 }, () => conv) }),
  hybrid: defineModel({ ...common, layers: [conv, conv, attending, conv, conv, attending, conv, attending] }),
};

/**
 * Prints, for each model and context, the median time of a token and the bytes that the cost model counts for it; with --model
 * FILE, a packed model in each numeric mode.
 */
export async function benchDecode(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      json: { type: 'boolean', default: false },
      threads: { type: 'string', default: '2' },
      model: { type: 'string' },
    },
  });
  if (values.model !== undefined) return benchNumerics(values.model, Number(values.threads), values.json);
  const engine = await openEngine({ name: 'onnx', threads: Number(values.threads) });
  const rows: Record<string, string | number>[] = [];
  for (const [name, model] of Object.entries(models)) {
    const weights = await Promise.all(
      Object.entries(initialise(model, 1)).map(
        async ([key, data]) => [key, await engine.upload('float32', model.parameters[key]?.shape ?? [], data)] as const,
      ),
    );
    await using generator = new Generator(engine, model, Object.fromEntries(weights), { capacities: [4096] });
    let first: { tokenMs: number; bytes: number } | undefined;
    for await (const { context, tokenMs } of measureGeneration(generator, CONTEXTS)) {
      const traffic = decodeBytes(model, context, 'float32');
      const bytes = Object.values(traffic).reduce((total, part) => total + part, 0);
      first ??= { tokenMs, bytes };
      rows.push({
        model: name,
        context,
        'ms/token': tokenMs.toFixed(2),
        'MB/token': (bytes / 1e6).toFixed(1),
        'time ratio': (tokenMs / first.tokenMs).toFixed(3),
        'bytes ratio': (bytes / first.bytes).toFixed(3),
      });
    }
  }
  if (values.json) console.log(JSON.stringify({ engine: engine.description, rows }, undefined, 2));
  else console.table(rows);
  await engine.close();
}
