// The routes, and what every request goes through before one of them.
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { codeOf, RequestError } from './errors.ts';
import type { Guard } from './guard.node.ts';
import type { Metrics } from './metrics.ts';
import { RequestRecord, type LogEntry } from './record.ts';
import type { ServedModel } from './models.ts';
import { addFailures, addModelRoutes } from './routes.ts';
import type { Env, Service } from './service.ts';
import { loadModel, unloadModel } from './manage.ts';
import { addTabRoutes, isTabCode } from './tab.node.ts';

/** A file of the page that is served at /. */
export interface Asset {
  readonly type: string;
  readonly body: string;
}

export interface AppOptions {
  readonly service: Service;
  readonly guard: Guard;
  readonly metrics: Metrics;
  readonly onRequest: (entry: LogEntry) => void;
  /** By path; `/` is the page itself. */
  readonly assets?: ReadonlyMap<string, Asset> | undefined;
  /** What tabs run models with: the folder of its code, and the models that they may load. */
  readonly tab?: { readonly folder: string; readonly models: readonly ServedModel[] } | undefined;
}

/** The page may load nothing from elsewhere, run no script but its own (which compiles the engine of a model in the tab), and stand in no frame. */
const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Without a key: they tell nothing that a stranger could not see. */
const isOpen = (method: string, path: string, assets: AppOptions['assets']) =>
  method === 'OPTIONS' || path === '/health' || assets?.has(path) === true || isTabCode(path);

export function createApp({ service, guard, metrics, onRequest, assets, tab }: AppOptions): Hono<Env> {
  const { pool, gate, limits } = service;
  const app = new Hono<Env>();

  app.use(async (c, next) => {
    const record = new RequestRecord(c.req.method, (entry) => {
      metrics.observe(entry);
      onRequest(entry);
    });
    c.set('record', record);
    await next();
    c.header('x-request-id', record.id);
    c.header('x-content-type-options', 'nosniff');
    // A page may share memory among threads only where nothing of others can be in it.
    c.header('cross-origin-opener-policy', 'same-origin');
    c.header('cross-origin-embedder-policy', 'require-corp');
    // The pattern of a path rather than the path, which may say anything.
    if (!record.isStreamed) record.end(c.req.routePath, c.res.status, c.error && codeOf(c.error));
  });

  app.use(async (c, next) => {
    const host = c.req.header('host');
    guard.checkHost(host);
    const allowed = guard.checkOrigin(c.req.header('origin'), host, c.req.header('sec-fetch-site'));
    if (allowed !== undefined) {
      c.header('access-control-allow-origin', allowed);
      c.header('vary', 'origin');
      c.header('access-control-expose-headers', 'x-request-id, retry-after');
    }
    const { method, path } = c.req;
    const tenant = isOpen(method, path, assets) ? '' : guard.checkKey(c.req.header('authorization'));
    c.set('tenant', tenant);
    if (method !== 'OPTIONS') return next();
    c.header('access-control-allow-methods', 'GET, POST');
    c.header('access-control-allow-headers', 'authorization, content-type');
    return c.body(null, 204);
  });

  app.use(
    bodyLimit({
      maxSize: limits.bodyBytes,
      onError: () => {
        throw new RequestError('body-too-large', `The body: expected at most ${limits.bodyBytes} bytes.`, {
          status: 413,
        });
      },
    }),
  );

  app.get('/health', (c) => {
    if (gate.isClosed) return c.json({ status: 'ending' }, 503);
    const [first = ''] = pool.names;
    return pool.loaded.has(first) ? c.json({ status: 'ok' }) : c.json({ status: 'loading' }, 503);
  });
  app.get('/metrics', (c) =>
    c.text(
      metrics.render({
        lfm_texts_pending: [[{}, gate.pending]],
        lfm_texts_running: [...pool.loaded].map(([model, { scheduler }]) => [{ model }, scheduler.load.running]),
        lfm_texts_waiting: [...pool.loaded].map(([model, { scheduler }]) => [{ model }, scheduler.load.waiting]),
        lfm_model_loaded: pool.names.map((model) => [{ model }, pool.loadedAs(model) ? 1 : 0]),
        process_resident_memory_bytes: [[{}, process.memoryUsage.rss()]],
      }),
      200,
      { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
    ),
  );

  app.post('/v1/models/load', (c) => loadModel(c, service, guard));
  app.post('/v1/models/unload', (c) => unloadModel(c, service, guard));
  addModelRoutes(app, service);

  for (const [path, { type, body }] of assets ?? []) {
    app.get(path, (c) =>
      c.body(body, 200, {
        'content-type': type,
        'content-security-policy': POLICY,
        'referrer-policy': 'no-referrer',
        'cache-control': 'no-cache',
      }),
    );
  }

  if (tab) addTabRoutes(app, tab.folder, tab.models, POLICY);

  addFailures(app, service);
  return app;
}
