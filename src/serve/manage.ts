// POST /v1/models/load and /v1/models/unload: which models are in memory, for those who hold a key.
import type { Context } from 'hono';
import { RequestError } from './errors.ts';
import type { Guard } from './guard.node.ts';
import { modelRequest, readRequest } from './requests.ts';
import type { Env, Service } from './service.ts';
import { begin, readJson } from './service.ts';

/** Answers once it is in memory. Errors: `model-not-found`, `key-required` (403), those of loading it. */
export async function loadModel(c: Context<Env>, service: Service, guard: Guard): Promise<Response> {
  requireKeys(guard);
  const { model } = readRequest(modelRequest, await readJson(c));
  const work = await begin(c, service, model, 1);
  work.end();
  return c.json({ id: model, object: 'model', loaded: true });
}

/** Errors: as `ModelPool.unload`, `key-required` (403). */
export async function unloadModel(c: Context<Env>, { pool }: Service, guard: Guard): Promise<Response> {
  requireKeys(guard);
  const { model } = readRequest(modelRequest, await readJson(c));
  c.var.record.model = pool.resolve(model);
  const wasLoaded = await pool.unload(model);
  return c.json({ id: model, object: 'model', loaded: false, was_loaded: wasLoaded });
}

/** Without keys anything on this machine could unload what others use. */
function requireKeys(guard: Guard): void {
  if (guard.wantsKey) return;
  throw new RequestError(
    'key-required',
    'Models are loaded and unloaded only by those who hold a key: start the server with an API key.',
    {
      status: 403,
    },
  );
}
