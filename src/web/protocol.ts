// OpenAI's protocol over the model of a tab: the routes of `lfm serve`, without a server.
import { Hono } from 'hono';
import type { LanguageModel } from '../generate/model.ts';
import { Gate } from '../serve/gate.ts';
import { defaultLimits } from '../serve/limits.ts';
import { ModelPool } from '../serve/models.ts';
import { RequestRecord } from '../serve/record.ts';
import { addFailures, addModelRoutes } from '../serve/routes.ts';
import type { Env } from '../serve/service.ts';

/** A tab is slow, and nobody else waits for it. */
const DAY_SECONDS = 86_400;

export interface Protocol {
  readonly respond: (request: Request) => Promise<Response>;
  /** Loads an adapter that has not been asked for yet. Errors: `model-not-found`, those of `loadAdapter`. */
  readonly ready: (adapter: string) => Promise<void>;
}

/** Answers requests for the model, which stays the caller's, and its adapters, by the URLs of their folders. */
export async function protocolOver(
  model: LanguageModel,
  adapters: Readonly<Record<string, string>> = {},
): Promise<Protocol> {
  const pool = new ModelPool([{ name: model.name, load: async () => model, adapters }]);
  await pool.get(undefined);
  const service = {
    pool,
    gate: new Gate(defaultLimits.pending),
    limits: { ...defaultLimits, requestSeconds: DAY_SECONDS, stallSeconds: DAY_SECONDS },
    signal: new AbortController().signal,
    onFailure: (error: unknown) => console.error(error),
  };
  const app = new Hono<Env>();
  app.use((c, next) => {
    c.set('record', new RequestRecord(c.req.method, () => undefined));
    c.set('tenant', '');
    return next();
  });
  addModelRoutes(app, service);
  addFailures(app, service);
  return {
    respond: async (request) => app.fetch(request, {}),
    ready: async (adapter) => void (await pool.get(adapter)),
  };
}
