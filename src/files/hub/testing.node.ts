// A hub of a test's own: models in memory, served with ranges, redirects and, on demand, faults.

import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Asked {
  readonly path: string;
  readonly range: string | undefined;
  readonly token: string | undefined;
  /** Whether the storage host was asked, to which large files redirect. */
  readonly atStorage: boolean;
}

/** What is done to one request; true: it was answered here. */
export type Fault = (request: Asked, response: ServerResponse, content: Buffer) => boolean;

export interface TestHub {
  readonly endpoint: string;
  readonly asked: Asked[];
  /** Files of OWNER/NAME by path; those of over 1,000 bytes count as large. */
  readonly models: Map<string, Record<string, Buffer>>;
  fault: Fault | undefined;
  /** Changes what the hub lists of a model. */
  lists: ((listing: Listing) => unknown) | undefined;
  close(): Promise<void>;
}

interface Listing {
  id: string;
  sha: string;
  siblings: {
    rfilename: string;
    size: number;
    blobId: string;
    lfs?: { sha256: string; size: number; pointerSize: number };
  }[];
}

export const COMMIT_OF_MAIN = 'c0ffee'.padEnd(40, '0');

export function sha256(content: Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}

export function gitSha1(content: Buffer): string {
  return createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
}

/** Two servers: the hub, and the storage on another origin that large files are redirected to. */
export async function startHub(): Promise<TestHub> {
  const handle = (atStorage: boolean) => (incoming: IncomingMessage, response: ServerResponse) => {
    const path = decodeURIComponent(new URL(incoming.url ?? '', 'http://hub').pathname);
    const { range, authorization } = incoming.headers;
    const asked: Asked = { path, range, token: authorization?.replace('Bearer ', ''), atStorage };
    hub.asked.push(asked);
    answer(asked, response);
  };
  const servers = [createServer(handle(false)), createServer(handle(true))];
  const [endpoint = '', storage = ''] = await Promise.all(
    servers.map(async (server) => {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    }),
  );
  const hub: TestHub = {
    endpoint,
    asked: [],
    models: new Map(),
    fault: undefined,
    lists: undefined,
    async close() {
      for (const server of servers) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    },
  };

  function answer(asked: Asked, response: ServerResponse): void {
    const [, owner, name, path] =
      /^(?:\/api\/models)?\/([^/]+)\/([^/]+)\/(?:revision|resolve\/[^/]+)\/(.+)$/.exec(asked.path) ?? [];
    const files = hub.models.get(`${owner}/${name}`);
    const content = files?.[path ?? ''] ?? Buffer.alloc(0);
    if (hub.fault?.(asked, response, content)) return;
    if (files && asked.path.startsWith('/api/')) {
      if (path !== 'main' && path !== COMMIT_OF_MAIN) return refuse(response, 404, 'RevisionNotFound');
      const listing = list(`${owner}/${name}`, files);
      response.end(JSON.stringify(hub.lists?.(listing) ?? listing));
      return undefined;
    }
    if (!files || !Object.hasOwn(files, path ?? ''))
      return refuse(response, 404, files ? 'EntryNotFound' : 'RepoNotFound');
    if (content.length <= 1000 || asked.atStorage) return serve(asked, response, content);
    response.writeHead(302, { location: `${storage}${asked.path}`, 'x-linked-size': String(content.length) }).end();
    return undefined;
  }
  return hub;
}

/** Sends a file, or the end of it that a range asks for. */
export function serve({ range }: Asked, response: ServerResponse, content: Buffer): void {
  const start = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
  if (start > 0 && start >= content.length) return void response.writeHead(416).end();
  const headers = { 'content-length': content.length - start };
  if (start > 0)
    response.writeHead(206, { ...headers, 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` });
  else response.writeHead(200, headers);
  response.end(content.subarray(start));
}

export function refuse(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { 'x-error-code': code }).end();
}

function list(id: string, files: Readonly<Record<string, Buffer>>): Listing {
  return {
    id,
    sha: COMMIT_OF_MAIN,
    siblings: Object.entries(files).map(([rfilename, content]) => ({
      rfilename,
      size: content.length,
      blobId: gitSha1(content),
      ...(content.length > 1000 && { lfs: { sha256: sha256(content), size: content.length, pointerSize: 130 } }),
    })),
  };
}
