// What a browser tab needs to run a model itself: the worker, the engine's files and the model's own, with versions by which
// browsers know what they hold.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { Context, Hono } from 'hono';
import type { ServedModel } from './models.ts';
import { RequestError } from './errors.ts';
import type { Env } from './service.ts';

const JSON_TYPE = 'application/json';
const BYTES = 'application/octet-stream';

/** The library's part, all in one folder: open to all, as the page is. */
const codeTypes: Readonly<Record<string, string>> = {
  'client.js': 'text/javascript',
  'worker.js': 'text/javascript',
  'ort-wasm-simd-threaded.mjs': 'text/javascript',
  'ort-wasm-simd-threaded.wasm': 'application/wasm',
  'ort-wasm-simd-threaded.asyncify.mjs': 'text/javascript',
  'ort-wasm-simd-threaded.asyncify.wasm': 'application/wasm',
};

/** What a tab reads of a model's folder: nothing else leaves it. */
const modelTypes: Readonly<Record<string, string>> = {
  'config.json': JSON_TYPE,
  'generation_config.json': JSON_TYPE,
  'tokenizer.json': JSON_TYPE,
  'tokenizer_config.json': JSON_TYPE,
  'chat_template.jinja': 'text/plain; charset=utf-8',
  'model.safetensors': BYTES,
};

/** What it reads of an adapter's. */
const adapterTypes: Readonly<Record<string, string>> = {
  'adapter_config.json': JSON_TYPE,
  'adapter_model.safetensors': BYTES,
};

/** Whether a path is of the library's part. */
export const isTabCode = (path: string): boolean => {
  const [, file] = /^\/tab\/([^/]+)$/.exec(path) ?? [];
  return file !== undefined && Object.hasOwn(codeTypes, file);
};

/** Under which a tab finds a model: a folder's URL, or a file's. */
export function tabUrl({ name, path = '' }: ServedModel): string {
  const isFile = path.toLowerCase().endsWith('.gguf');
  const file = isFile && !name.toLowerCase().endsWith('.gguf') ? `${name}.gguf` : name;
  return `/tab/models/${encodeURIComponent(file)}`;
}

const adapterUrl = (name: string) => `/tab/adapters/${encodeURIComponent(name)}`;

/** Adds the routes under /tab. `folder` holds the library's part; models without a path are not offered. */
export function addTabRoutes(app: Hono<Env>, folder: string, models: readonly ServedModel[], policy: string): void {
  for (const [file, type] of Object.entries(codeTypes)) {
    app.get(`/tab/${file}`, (c) =>
      sendFile(c, join(folder, file), { 'content-type': type, 'content-security-policy': policy }),
    );
  }
  const addFolder = (url: string, from: string, files: Readonly<Record<string, string>>) => {
    for (const [file, type] of Object.entries(files))
      app.get(`${url}/${file}`, (c) => sendFile(c, join(from, file), { 'content-type': type }));
  };
  const offered = models.filter(({ path }) => path !== undefined);
  app.get('/tab/models', (c) =>
    c.json({
      object: 'list',
      data: offered.map((model) => {
        const adapters = Object.keys(model.adapters ?? {}).map((name) => [name, adapterUrl(name)]);
        return { id: model.name, url: tabUrl(model), adapters: Object.fromEntries(adapters) };
      }),
    }),
  );
  for (const model of offered) {
    const { path = '', adapters = {} } = model;
    const url = tabUrl(model);
    for (const [name, folder] of Object.entries(adapters)) addFolder(adapterUrl(name), folder, adapterTypes);
    if (path.toLowerCase().endsWith('.gguf')) app.get(url, (c) => sendFile(c, path, { 'content-type': BYTES }));
    else addFolder(url, path, modelTypes);
  }
}

/** Streams a file, or tells of it. Errors: `not-found` (404). */
async function sendFile(c: Context<Env>, path: string, given: Readonly<Record<string, string>>): Promise<Response> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile())
    throw new RequestError('not-found', 'There is no such file among those that a tab may load.', { status: 404 });
  const headers = {
    ...given,
    'content-length': String(found.size),
    etag: `"${found.size.toString(36)}-${Math.round(found.mtimeMs).toString(36)}"`,
    'cache-control': 'no-cache',
  };
  if (c.req.header('if-none-match') === headers.etag) return c.body(null, 304, { etag: headers.etag });
  if (c.req.method === 'HEAD') return c.body(null, 200, headers);
  return c.body(Readable.toWeb(createReadStream(path)) as ReadableStream, 200, headers);
}
