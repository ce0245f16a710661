// The routes that answer with models, wherever they run: behind a server on Node, and in the worker of a tab.
import type { Hono } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { chat } from './chat.ts';
import { completions } from './completions.ts';
import { answerTo, RequestError } from './errors.ts';
import { inspectModel } from './inspect.ts';
import type { Env, Service } from './service.ts';
import { report } from './service.ts';
import { detokenize, embeddings, tokenize, tokenizerInfo } from './tokens.ts';

/** Expects `record` and `tenant` among a request's variables. */
export function addModelRoutes(app: Hono<Env>, service: Service): void {
  const { pool } = service;
  const describe = (id: string) => {
    const loaded = pool.loadedAs(id);
    const parent = pool.isAdapter(id) ? pool.baseOf(id) : null;
    const facts = loaded && { context_length: loaded.contextLength, chats: loaded.chats, engine: loaded.engine };
    return {
      id,
      object: 'model',
      created: pool.created,
      owned_by: 'lfm',
      parent,
      loaded: loaded !== undefined,
      ...facts,
    };
  };
  app.get('/v1/models', (c) => c.json({ object: 'list', data: pool.names.map(describe) }));
  app.get('/v1/models/:id', (c) => c.json(describe(pool.resolve(c.req.param('id')))));
  app.get('/v1/models/:id/inspect', (c) => inspectModel(c, service));
  app.post('/v1/chat/completions', (c) => chat(c, service));
  app.post('/v1/completions', (c) => completions(c, service));
  app.post('/v1/embeddings', (c) => embeddings(c, service));
  app.post('/tokenize', (c) => tokenize(c, service));
  app.post('/detokenize', (c) => detokenize(c, service));
  app.get('/tokenizer_info', (c) => tokenizerInfo(c, service));
}

/** What is answered where nothing else answers, or where something fails. */
export function addFailures(app: Hono<Env>, service: Service): void {
  app.notFound((c) => {
    const known = app.routes.some(({ path, method }) => path === c.req.path && method !== 'ALL');
    const what = known ? `${c.req.path} is not asked by ${c.req.method}.` : 'There is nothing under this path.';
    const { body } = answerTo(new RequestError('not-found', what, { status: known ? 405 : 404 }));
    return c.json(body, known ? 405 : 404);
  });
  app.onError((error, c) => {
    const { status, body, retryAfter } = report(service, c.var.record, error);
    if (retryAfter !== undefined) c.header('retry-after', String(retryAfter));
    if (status === 401) c.header('www-authenticate', 'Bearer');
    return c.json(body, status as ContentfulStatusCode);
  });
}
