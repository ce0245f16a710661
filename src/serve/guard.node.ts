// Who may ask: hosts against DNS rebinding, origins against other people's pages, keys against everybody else.
import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import { LfmError } from '../tensor/error.ts';
import { RequestError } from './errors.ts';

export interface GuardOptions {
  /** The address that is listened on. */
  readonly host: string;
  /** Absent or empty: no key is asked for. */
  readonly apiKeys?: readonly string[] | undefined;
  /** Names beside the address itself that the server goes by. */
  readonly allowedHosts?: readonly string[] | undefined;
  /** Pages of other origins that may ask, as `https://example.com`. */
  readonly allowedOrigins?: readonly string[] | undefined;
}

const LOOPBACK_NAMES = new Set(['localhost', '127.0.0.1', '::1']);

function isLoopback(host: string): boolean {
  return LOOPBACK_NAMES.has(host) || (isIP(host) === 4 && host.startsWith('127.'));
}

export class Guard {
  readonly #host: string;
  readonly #keys: readonly Buffer[];
  readonly #hosts: ReadonlySet<string>;
  readonly #origins: ReadonlySet<string>;

  /** Errors: `api-key-required` where others than this machine could ask without one; `bad-origin`, `bad-api-key`. */
  constructor({ host, apiKeys = [], allowedHosts = [], allowedOrigins = [] }: GuardOptions) {
    if (!isLoopback(host) && apiKeys.length === 0) {
      throw new LfmError(
        'api-key-required',
        `Listening on ${JSON.stringify(host)} would let other machines use the models without a key: give an API key, or listen on 127.0.0.1.`,
      );
    }
    if (apiKeys.some((key) => !/^[\x21-\x7e]{8,512}$/.test(key)))
      throw new LfmError('bad-api-key', 'An API key: expected 8 to 512 printable ASCII characters without a space.');
    for (const origin of allowedOrigins) {
      if (URL.canParse(origin) && new URL(origin).origin === origin) continue;
      throw new LfmError(
        'bad-origin',
        `Expected an origin such as https://example.com; found ${JSON.stringify(origin)}.`,
      );
    }
    this.#host = host;
    this.#keys = apiKeys.map(digest);
    this.#hosts = new Set(allowedHosts.map((name) => name.toLowerCase()));
    this.#origins = new Set(allowedOrigins);
  }

  get wantsKey(): boolean {
    return this.#keys.length > 0;
  }

  /** Errors: `forbidden-host` (403). */
  checkHost(header: string | undefined): void {
    const name = hostName(header);
    if (name !== undefined && this.#isOurs(name)) return;
    throw new RequestError(
      'forbidden-host',
      'The Host header names another host than this server: ask by its address, or allow the name where the server is started.',
      { status: 403 },
    );
  }

  /**
   * Answers the origin that the answer must allow, if any. A page of our own sends our host as its origin.
   * Errors: `forbidden-origin` (403).
   */
  checkOrigin(origin: string | undefined, host: string | undefined, site: string | undefined): string | undefined {
    if (origin === undefined) {
      // Not even to load something that the page cannot read.
      if (site !== 'cross-site') return undefined;
    } else {
      if (this.#origins.has(origin)) return origin;
      if (URL.canParse(origin) && new URL(origin).host === host) return undefined;
    }
    throw new RequestError(
      'forbidden-origin',
      'Pages of other origins may not ask this server, unless their origin is allowed where it is started.',
      { status: 403 },
    );
  }

  /** Answers which key it was, as a name that does not tell the key. Errors: `invalid-api-key` (401). */
  checkKey(authorization: string | undefined): string {
    if (!this.wantsKey) return '';
    const given = digest(/^Bearer (.+)$/i.exec(authorization ?? '')?.[1] ?? '');
    // All are compared, whichever is right, and in a time that tells nothing of how much of one is.
    const right = this.#keys.filter((key) => timingSafeEqual(key, given));
    const [found] = right;
    if (found) return found.toString('hex');
    throw new RequestError('invalid-api-key', 'Expected a right key in the header Authorization: Bearer KEY.', {
      status: 401,
    });
  }

  #isOurs(name: string): boolean {
    if (isLoopback(name) || name === this.#host.toLowerCase() || this.#hosts.has(name)) return true;
    // A name can be made to point anywhere; an address is where the client went.
    return !isLoopback(this.#host) && isIP(name) !== 0;
  }
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

/** The name in a Host header, without port and brackets. */
function hostName(header: string | undefined): string | undefined {
  const found = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?$/i.exec(header ?? '');
  return (found?.[1] ?? found?.[2])?.toLowerCase();
}
