// What a platform must offer, whatever it is. Everything else in the library is the same in Node and in a browser.
// Import `{ host } from '#host'`; package.json decides which of node.ts and browser.ts answers.

export interface Host {
  readonly name: 'node' | 'browser';

  /**
   * Where downloads and compiled artefacts are kept: a folder on Node (`LFM_CACHE` overrides it; it may not exist yet),
   * the name of a Cache Storage in a browser.
   */
  cacheFolder(): string;

  /**
   * The bytes at a location: a path or file: URL on Node, any URL that fetch takes in a browser, with `headers`.
   * @throws LfmError `file-not-found`, `file-unreadable`
   */
  readBytes(location: string | URL, headers?: Readonly<Record<string, string>>): Promise<Uint8Array>;

  /** Logical cores this process may use, at least 1. */
  coreCount(): number;
}
