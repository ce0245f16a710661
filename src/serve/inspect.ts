// GET /v1/models/:id/inspect: what a model is made of and what it costs, in figures and in pictures. Ours, not OpenAI's.
import type { Context } from 'hono';
import type { LanguageModel } from '../generate/model.ts';
import type { Inspection, MemoryCurve } from '../liquid/index.ts';
import { inspect, layerStack, memoryAt, memoryCurves } from '../liquid/index.ts';
import type { Env, Service } from './service.ts';

export interface ModelReport extends Inspection {
  readonly engine: string;
  /** Bytes of weights as they lie in memory here, packed ones packed. */
  readonly weightBytes: number;
  /** SVG text: the layers in order; all memory for one text by its length; its state alone. */
  readonly pictures: { readonly layers: string; readonly memory: string; readonly state: string };
}

/** A model's definition does not change while it is served. */
const reports = new WeakMap<LanguageModel, ModelReport>();

/** Loads the model where it is not in memory yet. Errors: `model-not-found`, those of loading it. */
export async function inspectModel(c: Context<Env>, { pool }: Service): Promise<Response> {
  const model = await pool.get(pool.baseOf(c.req.param('id')));
  const report = reports.get(model) ?? reportOf(model);
  reports.set(model, report);
  return c.json(report);
}

/** As it runs here: state and activations in float32. */
function reportOf(model: LanguageModel): ModelReport {
  const { name, definition, engine, contextLength } = model;
  const points = lengthsTo(contextLength).map((length) => ({
    length,
    ...memoryAt(definition, length, { dtype: 'float32' }),
  }));
  const curve = (of: string, bytes: (at: (typeof points)[number]) => number): MemoryCurve => ({
    name: of,
    contextLength,
    points: points.map((at) => ({ length: at.length, bytes: bytes(at) })),
  });
  return {
    ...inspect(name, definition, { dtype: 'float32' }),
    engine,
    weightBytes: points[0]?.weights ?? 0,
    pictures: {
      layers: layerStack(name, definition),
      memory: memoryCurves(
        [
          curve('in all', ({ total }) => total),
          curve('weights', ({ weights }) => weights),
          curve('state', ({ state }) => state),
        ],
        { title: 'Memory for one text', isNarrow: true },
      ),
      state: memoryCurves([curve('state', ({ state }) => state)], { title: 'State of one text', isNarrow: true }),
    },
  };
}

/** At most eight lengths, each twice the one before, up to the context. */
function lengthsTo(context: number): number[] {
  return Array.from({ length: 8 }, (_, i) => Math.round(context / 2 ** (7 - i))).filter((length) => length >= 1);
}
