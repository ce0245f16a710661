// Turn text files into a corpus: documents cut into blocks, blocks split into training and held-out, tokens packed.

import { basename } from 'node:path';

import { writeFolderAtomic } from '../files/atomic.node.ts';
import type { FolderWriter } from '../files/atomic.node.ts';
import { hashing } from '../files/manifest.node.ts';
import { LfmError } from '../tensor/error.ts';
import { BlockCutter } from './blocks.ts';
import type { Block } from './blocks.ts';
import { CORPUS_NAME, corpusHead } from './corpus.node.ts';
import type { CorpusInfo } from './corpus.node.ts';
import type { DocumentPolicy } from './documents.ts';
import { ShardWriter } from './shard-writer.node.ts';
import { readText, splitterFor } from './text-files.node.ts';

/** What a tokenizer must offer here. Text that spells a special token must come out as ordinary text. */
export interface CorpusTokenizer {
  readonly vocabSize: number;
  readonly endOfText: number;
  encodeBytes(bytes: Uint8Array): ArrayLike<number>;
}

export interface PrepareOptions {
  /** Files named .txt or .jsonl (each line an object with "text"), plain or with .br or .gz behind. */
  readonly inputs: readonly string[];
  /** The corpus folder to write, replacing an older corpus. */
  readonly output: string;
  readonly tokenizer: CorpusTokenizer;
  /** SHA-256 of the tokenizer, lower-case hexadecimal, kept with the tokens. */
  readonly tokenizerHash: string;
  /** What ends a document in a .txt file. Default 'marker'. */
  readonly documents?: DocumentPolicy;
  /** Share of the text to hold out, 0 for none. Default 0.01. */
  readonly heldOutShare?: number;
  /** Which blocks are held out. Default 0. */
  readonly seed?: number;
  /** Largest block, in bytes; longer documents are cut. Default 16384. */
  readonly blockBytes?: number;
  /** Tokens a file. Default 2^24. */
  readonly shardTokens?: number;
  readonly signal?: AbortSignal;
  /** Called now and then with the bytes of text done so far. */
  readonly onProgress?: (textBytes: number) => void;
}

/**
 * Prepare a corpus, in bounded memory; the same inputs and options give the same bytes.
 *
 * Held-out text: a block is a document, or a contiguous part of about `blockBytes` of a longer one, cut where tokens end.
 * A block is held out if a hash of the seed and its text falls below the share: so no held-out block stands in training,
 * even where the text repeats a document. If none falls there, the block with the lowest hash is held out.
 * Every run of unbroken text ends with the end-of-text token, also where a block was taken out.
 *
 * Errors: `prepare-options`, `text-…`, `jsonl-…`, `invalid-utf8`, `corpus-empty`, `corpus-too-small`, `token-out-of-range`,
 * those of writeFolderAtomic, or the signal's reason. After an error the output folder is as it was.
 */
export async function prepareCorpus(options: PrepareOptions): Promise<CorpusInfo> {
  const { inputs, output, tokenizer, tokenizerHash, signal, onProgress } = options;
  const { documents = 'marker', heldOutShare = 0.01, seed = 0, blockBytes = 16384, shardTokens = 2 ** 24 } = options;
  const settings = { documents, heldOutShare, seed, blockBytes };
  checkOptions(options, { ...settings, shardTokens });
  const splitters = inputs.map((path) => ({ path, splitter: splitterFor(path, documents) })); // all names before any work
  let info: CorpusInfo | undefined;
  await writeFolderAtomic(output, async (folder) => {
    const split = new Split(folder, tokenizer, tokenizerHash, shardTokens, seed, heldOutShare);
    const cutter = new BlockCutter(blockBytes);
    for (const { path, splitter } of splitters) {
      const take = async (pieces: ReturnType<typeof splitter.push>): Promise<void> => {
        for (const piece of pieces) {
          for (const block of piece === 'end' ? cutter.end() : cutter.push(piece)) {
            signal?.throwIfAborted();
            await split.add(block);
          }
        }
        onProgress?.(split.textBytes);
      };
      for await (const chunk of readText(path)) await take(splitter.push(chunk));
      await take(splitter.end());
    }
    await split.finish();
    info = {
      ...corpusHead(tokenizer, tokenizerHash),
      ...settings,
      inputs: inputs.map((path) => basename(path)),
      train: split.train.info(),
      heldOut: split.heldOut.info(),
    };
    await folder.file(CORPUS_NAME, `${JSON.stringify(info, undefined, 2)}\n`);
  });
  if (info === undefined) throw new Error('the folder was written without its description');
  return info;
}

/** Of a block and a seed, a number from 0 to 1 that decides whether it is held out. */
function fractionOf(bytes: Uint8Array, seed: number): number {
  return hashing().update(`${seed}\n`).update(bytes).digest().readUIntBE(0, 6) / 2 ** 48;
}

/** Whether a corpus that is prepared with this share and seed holds a block out, where it holds out any by its share. */
export function holdsOut(bytes: Uint8Array, seed: number, share: number): boolean {
  return fractionOf(bytes, seed) < share;
}

/** Decides for each block whether it is held out. */
class Split {
  readonly train: ShardWriter;
  readonly heldOut: ShardWriter;
  textBytes = 0;
  readonly #tokenizer: CorpusTokenizer;
  readonly #seed: number;
  readonly #share: number;
  /** While nothing is held out: the block that would be, kept out of training, and how often it has come. */
  #lowest: { readonly hash: number; readonly bytes: Uint8Array; times: number } | undefined;

  constructor(
    folder: FolderWriter,
    tokenizer: CorpusTokenizer,
    tokenizerHash: string,
    shardTokens: number,
    seed: number,
    share: number,
  ) {
    this.train = new ShardWriter(folder, 'train', tokenizer, tokenizerHash, shardTokens);
    this.heldOut = new ShardWriter(folder, 'held-out', tokenizer, tokenizerHash, shardTokens);
    this.#tokenizer = tokenizer;
    this.#seed = seed;
    this.#share = share;
  }

  async add({ bytes, endsDocument }: Block): Promise<void> {
    this.textBytes += bytes.length;
    if (bytes.length > 0) {
      const hash = fractionOf(bytes, this.#seed);
      if (hash < this.#share) {
        await this.#release(this.train);
        await this.#append(this.heldOut, this.train, bytes);
      } else if (this.#share === 0 || this.heldOut.tokens > 0) {
        await this.#append(this.train, this.heldOut, bytes);
      } else if (this.#lowest === undefined || hash < this.#lowest.hash) {
        await this.#release(this.train);
        await this.train.endRun();
        this.#lowest = { hash, bytes, times: 1 };
      } else if (hash === this.#lowest.hash) {
        await this.train.endRun();
        this.#lowest.times++;
      } else {
        await this.#append(this.train, this.heldOut, bytes);
      }
    }
    if (!endsDocument) return;
    await this.train.endRun();
    await this.heldOut.endRun();
  }

  async finish(): Promise<void> {
    if (this.heldOut.tokens === 0) await this.#release(this.heldOut);
    if (this.train.tokens + this.heldOut.tokens === 0) {
      throw new LfmError('corpus-empty', 'the files hold no text');
    }
    if (this.train.tokens === 0) {
      throw new LfmError(
        'corpus-too-small',
        'too little text: all of it was held out; give more, smaller blocks, or a held-out share of 0',
      );
    }
    await this.train.finish();
    await this.heldOut.finish();
  }

  /** Give the block kept back to a split, as runs of its own. */
  async #release(to: ShardWriter): Promise<void> {
    if (this.#lowest === undefined) return;
    const { bytes, times } = this.#lowest;
    this.#lowest = undefined;
    for (let i = 0; i < times; i++) {
      await to.endRun();
      await to.append(this.#tokenizer.encodeBytes(bytes), bytes.length);
      await to.endRun();
    }
  }

  async #append(to: ShardWriter, other: ShardWriter, bytes: Uint8Array): Promise<void> {
    await other.endRun();
    await to.append(this.#tokenizer.encodeBytes(bytes), bytes.length);
  }
}

function checkOptions(
  { inputs, tokenizer, tokenizerHash }: PrepareOptions,
  {
    documents,
    heldOutShare,
    seed,
    blockBytes,
    shardTokens,
  }: Required<Pick<PrepareOptions, 'documents' | 'heldOutShare' | 'seed' | 'blockBytes' | 'shardTokens'>>,
): void {
  const { vocabSize, endOfText } = tokenizer;
  const rules: [boolean, string][] = [
    [inputs.length > 0, 'expected at least one text file'],
    [isWhole(vocabSize, 1, 2 ** 31), `vocabSize must be 1 to 2^31, found ${vocabSize}`],
    [isWhole(endOfText, 0, vocabSize - 1), `endOfText must be a token of the vocabulary, found ${endOfText}`],
    [/^[0-9a-f]{64}$/.test(tokenizerHash), 'tokenizerHash must be a SHA-256 in lower-case hexadecimal'],
    [typeof documents === 'string' || isWhole(documents.blankLines, 1, 1000), 'blankLines must be 1 to 1000'],
    [heldOutShare >= 0 && heldOutShare < 1, `heldOutShare must be from 0 to below 1, found ${heldOutShare}`],
    [isWhole(seed, 0, Number.MAX_SAFE_INTEGER), `seed must be a whole number from 0 on, found ${seed}`],
    [isWhole(blockBytes, 64, 2 ** 24), `blockBytes must be 64 to 2^24, found ${blockBytes}`],
    [isWhole(shardTokens, 1, 2 ** 28), `shardTokens must be 1 to 2^28, found ${shardTokens}`],
  ];
  for (const [holds, message] of rules) if (!holds) throw new LfmError('prepare-options', message);
}

function isWhole(value: number, from: number, to: number): boolean {
  return Number.isSafeInteger(value) && value >= from && value <= to;
}
