// The server: listens, keeps clients from holding it up, and ends without cutting off what it is saying.
import { setMaxListeners } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { LfmError } from '../tensor/error.ts';
import type { Asset } from './app.ts';
import { createApp } from './app.ts';
import { Gate } from './gate.ts';
import type { GuardOptions } from './guard.node.ts';
import { Guard } from './guard.node.ts';
import type { Limits } from './limits.ts';
import { defaultLimits } from './limits.ts';
import { Metrics } from './metrics.ts';
import type { ServedModel } from './models.ts';
import { ModelPool } from './models.ts';
import type { LogEntry } from './record.ts';

export interface ServeOptions extends Omit<GuardOptions, 'host'> {
  /** The first is loaded at once and meant where a request names none; the others when they are asked for. */
  readonly models: readonly ServedModel[];
  /** Default 127.0.0.1; another address needs an API key. */
  readonly host?: string | undefined;
  /** Default 8080; 0 takes any that is free. */
  readonly port?: number | undefined;
  readonly limits?: Partial<Limits> | undefined;
  /** Hears of each request, once it has ended. */
  readonly onRequest?: ((entry: LogEntry) => void) | undefined;
  /** Hears of failures that are the server's own. Default: standard error. */
  readonly onFailure?: ((error: unknown, id: string) => void) | undefined;
  /** Files to serve, by path. */
  readonly assets?: ReadonlyMap<string, Asset> | undefined;
  /** Folder of the code with which a tab runs a model itself: then models that have a path may be loaded by browsers. */
  readonly tabFolder?: string | undefined;
}

export interface RunningServer extends AsyncDisposable {
  readonly url: string;
  /** The first model is in memory, and its adapters. Errors: those of loading it. */
  readonly ready: Promise<void>;
  /** Takes no new requests (503), lets those under way end for so long, and frees the models. Default 30 s. */
  close(graceSeconds?: number): Promise<void>;
}

const GRACE_SECONDS = 30;

/** Errors: `api-key-required`, `no-models`, `duplicate-model`, `address-in-use`, `bad-address`, `bad-origin`, `bad-api-key`. */
export async function serve(options: ServeOptions): Promise<RunningServer> {
  const { host = '127.0.0.1', port = 8080, onRequest = () => undefined, onFailure = printFailure, assets } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const guard = new Guard({ ...options, host });
  const pool = new ModelPool(options.models);
  const gate = new Gate(limits.pending);
  const ending = new AbortController();
  // Every request listens to it while it is answered.
  setMaxListeners(0, ending.signal);
  const service = { pool, gate, limits, signal: ending.signal, onFailure };
  const tab = options.tabFolder === undefined ? undefined : { folder: options.tabFolder, models: options.models };
  const app = createApp({ service, guard, metrics: new Metrics(), onRequest, assets, tab });
  const server = createServer(
    {
      headersTimeout: limits.receiveSeconds * 1000,
      requestTimeout: limits.receiveSeconds * 2000,
      connectionsCheckingInterval: Math.min(5000, limits.receiveSeconds * 500),
      keepAliveTimeout: 5000,
      maxHeaderSize: 16 * 1024,
    },
    getRequestListener(app.fetch, { overrideGlobalObjects: false }),
  );
  server.maxConnections = limits.connections;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, host, port)));
    server.listen(port, host, resolve);
  });
  // Those of the first model too: whoever starts the server hears of what is wrong with one.
  const adapters = Object.keys(options.models[0]?.adapters ?? {});
  const ready = Promise.all([undefined, ...adapters].map((name) => pool.get(name))).then(() => undefined);
  // Whoever waits for it hears of it; so does each request.
  ready.catch(() => undefined);

  let closing: Promise<void> | undefined;
  const close = (graceSeconds = GRACE_SECONDS) =>
    (closing ??= (async () => {
      const timer = setTimeout(() => {
        ending.abort(new LfmError('model-closed', 'The server has shut down.'));
      }, graceSeconds * 1000);
      // Until then whoever asks is told (503), rather than not answered.
      await gate.close();
      clearTimeout(timer);
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      // What has been said must still reach those who read; those who do not are cut off.
      const cut = setTimeout(() => server.closeAllConnections(), 1000);
      await closed;
      clearTimeout(cut);
      await pool.close();
    })());
  return { url: addressOf(server.address()), ready, close, [Symbol.asyncDispose]: () => close(0) };
}

function addressOf(address: AddressInfo | string | null): string {
  if (typeof address !== 'object' || address === null)
    throw new LfmError('bad-address', 'The server listens on no address.');
  return `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): LfmError {
  const what = `${host}:${port}`;
  if (error.code === 'EADDRINUSE')
    return new LfmError('address-in-use', `${what} is in use already: choose another port.`, { cause: error });
  return new LfmError('bad-address', `The server cannot listen on ${what}: ${error.message}.`, { cause: error });
}

function printFailure(error: unknown, id: string): void {
  console.error(`${id} failed:`, error);
}
