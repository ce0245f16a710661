// Open a prepared corpus: a folder of packed token files with corpus.json beside them. Reads by position, so that a
// corpus may be larger than memory.

import { join } from 'node:path';

import { currentFolder } from '../files/atomic.node.ts';
import { isJsonObject } from '../files/json.ts';
import { readJsonIfPresent } from '../files/json.node.ts';
import { hashing, readManifest, safeName } from '../files/manifest.node.ts';
import { LfmError } from '../tensor/error.ts';
import type { DocumentPolicy } from './documents.ts';
import { FileCache } from './file-cache.node.ts';
import { decodePackedHeader, HEADER_BYTES, unpackTokens } from './packed.ts';
import { BEGINS, MARK_COUNT } from './marks.ts';
import type { PackedHeader, TokenReader } from './packed.ts';

export const CORPUS_NAME = 'corpus.json';
const CORPUS_FORMAT = 'lfm-corpus';
const CORPUS_VERSION = 1;

/** What the description of any corpus begins with. */
export function corpusHead(
  { vocabSize, endOfText }: Pick<CorpusInfo, 'vocabSize' | 'endOfText'>,
  tokenizerHash: string,
): Pick<CorpusInfo, 'format' | 'version' | 'tokenizerHash' | 'vocabSize' | 'endOfText'> {
  return { format: CORPUS_FORMAT, version: CORPUS_VERSION, tokenizerHash, vocabSize, endOfText };
}

/** Files held open at once. */
const MAX_OPEN = 64;

export interface SplitInfo {
  readonly tokens: number;
  /** Bytes of UTF-8 text behind the tokens; end-of-text tokens stand for none. */
  readonly textBytes: number;
  /** Runs of unbroken text, each closed by an end-of-text token: documents, and parts left where a block went to the other split. */
  readonly runs: number;
  readonly shards: readonly { readonly name: string; readonly tokens: number }[];
}

/** corpus.json. */
export interface CorpusInfo {
  readonly format: typeof CORPUS_FORMAT;
  readonly version: typeof CORPUS_VERSION;
  readonly tokenizerHash: string;
  readonly vocabSize: number;
  readonly endOfText: number;
  readonly documents: DocumentPolicy;
  readonly blockBytes: number;
  readonly seed: number;
  readonly heldOutShare: number;
  /** Names of the text files, without their folders. */
  readonly inputs: readonly string[];
  readonly train: SplitInfo;
  readonly heldOut: SplitInfo;
  /** Of chats: a mark for each token (marks.ts), as files of tokens of their own. */
  readonly marks?: { readonly train: SplitInfo; readonly heldOut: SplitInfo };
}

export interface Corpus extends AsyncDisposable {
  readonly info: CorpusInfo;
  /** SHA-256 of the manifest: the same text prepared the same way has the same. */
  readonly fingerprint: string;
  readonly train: TokenReader;
  readonly heldOut: TokenReader;
  /** Where tokens are marked, which then stand in rows. */
  readonly marks?: { readonly train: TokenReader; readonly heldOut: TokenReader };
  close(): Promise<void>;
}

/**
 * Open a corpus and check every file's header and length (not its content: verifyManifest does). With `tokenizerHash`,
 * a corpus made by another tokenizer is refused.
 * Errors: `folder-missing`, `corpus-missing`, `corpus-version`, `corpus-invalid`, `corpus-tokenizer`, `corpus-shard`,
 * `packed-…`, `manifest-…`.
 */
export async function openCorpus(path: string, tokenizerHash?: string): Promise<Corpus> {
  const folder = await currentFolder(path);
  const info = await readInfo(folder);
  if (tokenizerHash !== undefined && tokenizerHash !== info.tokenizerHash) {
    throw new LfmError(
      'corpus-tokenizer',
      `${path} was made with another tokenizer: prepare the text anew with this one`,
    );
  }
  const fingerprint = hashing()
    .update(JSON.stringify(await readManifest(folder)))
    .digest('hex');
  const [train, heldOut] = [info.train, info.heldOut].map((split) => new ShardReader(folder, info, split));
  const marked = { ...info, vocabSize: MARK_COUNT, endOfText: BEGINS };
  const [trainMarks, heldOutMarks] = [info.marks?.train, info.marks?.heldOut].map(
    (split) => split && new ShardReader(folder, marked, split),
  );
  const splits = [train, heldOut, trainMarks, heldOutMarks].filter((split) => split !== undefined);
  if (!train || !heldOut) throw new LfmError('corpus-invalid', `${path} does not describe a corpus`);
  const close = async (): Promise<void> => {
    await Promise.all(splits.map((split) => split.close()));
  };
  try {
    for (const split of splits) await split.check();
  } catch (error) {
    await close();
    throw error;
  }
  const marks = trainMarks && heldOutMarks && { train: trainMarks, heldOut: heldOutMarks };
  return { info, fingerprint, train, heldOut, ...(marks && { marks }), close, [Symbol.asyncDispose]: close };
}

/** The shards of one split, read as one sequence. */
class ShardReader implements TokenReader {
  readonly length: number;
  readonly #folder: string;
  readonly #info: CorpusInfo;
  readonly #shards: readonly { readonly name: string; readonly start: number; readonly end: number }[];
  readonly #files = new FileCache(MAX_OPEN);

  constructor(folder: string, info: CorpusInfo, split: SplitInfo) {
    this.#folder = folder;
    this.#info = info;
    let end = 0;
    this.#shards = split.shards.map(({ name, tokens }) => ({ name, start: end, end: (end += tokens) }));
    this.length = end;
  }

  async check(): Promise<void> {
    for (const { name, start, end } of this.#shards) {
      const path = join(this.#folder, name);
      const found = await this.#files.with(path, async (file) => {
        const header = new Uint8Array(HEADER_BYTES);
        const { bytesRead } = await file.read(header, 0, HEADER_BYTES, 0);
        return decodePackedHeader(header.subarray(0, bytesRead), (await file.stat()).size, path);
      });
      const expected: Omit<PackedHeader, 'bytesPerToken'> = { ...this.#info, count: end - start };
      for (const key of ['count', 'vocabSize', 'endOfText', 'tokenizerHash'] as const) {
        if (found[key] !== expected[key]) {
          throw new LfmError(
            'corpus-shard',
            `${path}: ${key} is ${found[key]}, but ${CORPUS_NAME} says ${expected[key]}`,
          );
        }
      }
    }
  }

  async read(start: number, into: Int32Array): Promise<void> {
    const stop = start + into.length;
    if (!Number.isSafeInteger(start) || start < 0 || stop > this.length) {
      throw new LfmError('tokens-range', `tokens ${start} to ${stop} were asked for; there are ${this.length}`);
    }
    for (let i = this.#find(start), at = start; at < stop; i++) {
      const shard = this.#shards[i];
      if (shard === undefined) break;
      const end = Math.min(stop, shard.end);
      await this.#readPart(shard.name, at - shard.start, into.subarray(at - start, end - start));
      at = end;
    }
  }

  async close(): Promise<void> {
    await this.#files.close();
  }

  /** The shard that holds a token, by bisection. */
  #find(token: number): number {
    let low = 0;
    for (let high = this.#shards.length; low < high;) {
      const middle = (low + high) >> 1;
      if ((this.#shards[middle]?.end ?? Infinity) <= token) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  async #readPart(name: string, start: number, into: Int32Array): Promise<void> {
    const ids = this.#info.vocabSize <= 65536 ? new Uint16Array(into.length) : new Uint32Array(into.length);
    const bytes = new Uint8Array(ids.buffer);
    const path = join(this.#folder, name);
    await this.#files.with(path, async (file) => {
      for (let done = 0; done < bytes.length;) {
        const position = HEADER_BYTES + start * ids.BYTES_PER_ELEMENT + done;
        const { bytesRead } = await file.read(bytes, done, bytes.length - done, position);
        if (bytesRead === 0) throw new LfmError('packed-length', `${path} ended while being read`);
        done += bytesRead;
      }
    });
    unpackTokens(ids, into, this.#info.vocabSize, path);
  }
}

async function readInfo(folder: string): Promise<CorpusInfo> {
  const path = join(folder, CORPUS_NAME);
  const json = await readJsonIfPresent(path);
  if (json === undefined)
    throw new LfmError('corpus-missing', `${path} is missing: ${folder} is not a prepared corpus`);
  const { format, version } = json;
  if (format === CORPUS_FORMAT && typeof version === 'number' && version > CORPUS_VERSION) {
    throw new LfmError(
      'corpus-version',
      `${path} has version ${version}; this program reads up to ${CORPUS_VERSION}: update it`,
    );
  }
  if (!isInfo(json))
    throw new LfmError('corpus-invalid', `${path} does not describe a corpus of version ${CORPUS_VERSION}`);
  return json;
}

/** What reading relies on; the rest of corpus.json is told, not used. */
function isInfo(json: unknown): json is CorpusInfo {
  if (!isJsonObject(json)) return false;
  const { format, version, tokenizerHash, vocabSize, endOfText, train, heldOut } = json;
  return (
    format === CORPUS_FORMAT &&
    version === CORPUS_VERSION &&
    typeof tokenizerHash === 'string' &&
    Number.isSafeInteger(vocabSize) &&
    Number.isSafeInteger(endOfText) &&
    isSplit(train) &&
    isSplit(heldOut) &&
    (json['marks'] === undefined || areMarks(json['marks'], train, heldOut))
  );
}

/** A mark for each token. */
function areMarks(marks: unknown, train: SplitInfo, heldOut: SplitInfo): boolean {
  if (!isJsonObject(marks)) return false;
  const { train: own, heldOut: held } = marks;
  return isSplit(own) && isSplit(held) && own.tokens === train.tokens && held.tokens === heldOut.tokens;
}

function isSplit(split: unknown): split is SplitInfo {
  if (!isJsonObject(split)) return false;
  const { tokens, textBytes, shards } = split;
  if (!isCount(textBytes) || !Array.isArray(shards)) return false;
  let sum = 0;
  for (const shard of shards as unknown[]) {
    if (!isJsonObject(shard) || typeof shard['name'] !== 'string' || !safeName(shard['name'])) return false;
    if (!isCount(shard['tokens'])) return false;
    sum += shard['tokens'];
  }
  return sum === tokens;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
