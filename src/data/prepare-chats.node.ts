// Turn files of chats into a corpus: each chat rendered, whole in a row of the training's length, its tokens marked.
import { basename } from 'node:path';
import type { FolderWriter } from '../files/atomic.node.ts';
import { writeFolderAtomic } from '../files/atomic.node.ts';
import { hashing } from '../files/manifest.node.ts';
import { LfmError } from '../tensor/error.ts';
import { CORPUS_NAME, corpusHead } from './corpus.node.ts';
import type { CorpusInfo, SplitInfo } from './corpus.node.ts';
import { jsonLines } from './documents.ts';
import { BEGINS, MARK_COUNT } from './marks.ts';
import type { MarkedDocument, Row } from './rows.ts';
import { RowPacker } from './rows.ts';
import { ShardWriter } from './shard-writer.node.ts';
import { readText } from './text-files.node.ts';

export interface PrepareChatsOptions {
  /** Files named .jsonl, plain or with .br or .gz behind; each line an object with "messages". */
  readonly inputs: readonly string[];
  /** The corpus folder to write, replacing an older corpus. */
  readonly output: string;
  readonly tokenizer: { readonly vocabSize: number; readonly endOfText: number };
  readonly tokenizerHash: string;
  /** A chat's tokens. Its errors are told with the file and the line. */
  readonly encodeChat: (messages: unknown) => MarkedDocument;
  /** Tokens a row. */
  readonly length: number;
  /** What becomes of chats that are longer. */
  readonly long: 'refuse' | 'leave-out';
  readonly heldOutShare: number;
  readonly seed: number;
  /** Tokens a file. Default 2^24. */
  readonly shardTokens?: number;
  readonly signal?: AbortSignal;
  /** Called now and then with the bytes of the files done so far. */
  readonly onProgress?: (bytes: number) => void;
}

/**
 * The same inputs and options give the same bytes. A chat is held out if a hash of the seed and its messages falls below the
 * share. Errors: `chat-file`, `jsonl-…`, `text-…`, `bad-chat` with what `encodeChat` says, `chat-too-long`, naming file and
 * line, `corpus-empty`, `corpus-too-small`. After an error the output folder is as it was.
 */
export async function prepareChats(options: PrepareChatsOptions): Promise<{ info: CorpusInfo; leftOut: number }> {
  const { inputs, output, tokenizer, tokenizerHash, length, long, heldOutShare, seed, signal, onProgress } = options;
  let leftOut = 0;
  let info: CorpusInfo | undefined;
  const encode = (value: unknown, where: string): { hash: number; chat: MarkedDocument } | undefined => {
    const messages: unknown =
      typeof value === 'object' && value !== null && 'messages' in value ? value.messages : null;
    if (!Array.isArray(messages))
      throw new LfmError('bad-chat', `${where}: expected an object with a list of "messages".`);
    const chat = encoded(options, messages, where);
    if (chat.ids.length > length) {
      if (long === 'refuse')
        throw new LfmError(
          'chat-too-long',
          `${where}: the chat has ${chat.ids.length} tokens, a row ${length}: shorten it, raise batch.length, or set data.longChats to "leave-out".`,
        );
      leftOut++;
      return undefined;
    }
    const text = `${seed}\n${JSON.stringify(messages)}`;
    return { hash: hashing().update(text).digest().readUIntBE(0, 6) / 2 ** 48, chat };
  };
  await writeFolderAtomic(output, async (folder) => {
    const [train, heldOut] = ['train', 'held-out'].map((name) => new MarkedSplit(folder, name, options));
    if (!train || !heldOut) return;
    let bytes = 0;
    for (const path of inputs) {
      if (!/\.jsonl(?:\.br|\.gz)?$/.test(path))
        throw new LfmError(
          'chat-file',
          `${path}: expected chats in a file that ends in .jsonl, .jsonl.br or .jsonl.gz.`,
        );
      const lines = jsonLines(basename(path), encode);
      const take = async (chats: Iterable<ReturnType<typeof encode>>): Promise<void> => {
        for (const found of chats) {
          signal?.throwIfAborted();
          if (found) await (found.hash < heldOutShare ? heldOut : train).add(found.chat);
        }
      };
      for await (const chunk of readText(path)) {
        await take(lines.push(chunk));
        onProgress?.((bytes += chunk.length));
      }
      await take(lines.end());
    }
    const [own, held] = [await train.finish(), await heldOut.finish()];
    if (own.tokens.tokens + held.tokens.tokens === 0) throw new LfmError('corpus-empty', 'the files hold no chats');
    if (own.tokens.tokens === 0)
      throw new LfmError(
        'corpus-too-small',
        'too little text: all chats were held out; give more, or a held-out share of 0',
      );
    info = {
      ...corpusHead(tokenizer, tokenizerHash),
      documents: 'marker',
      blockBytes: 0,
      seed,
      heldOutShare,
      inputs: inputs.map((path) => basename(path)),
      train: own.tokens,
      heldOut: held.tokens,
      marks: { train: own.marks, heldOut: held.marks },
    };
    await folder.file(CORPUS_NAME, `${JSON.stringify(info, undefined, 2)}\n`);
  });
  if (!info) throw new Error('the folder was written without its description');
  return { info, leftOut };
}

function encoded({ encodeChat }: PrepareChatsOptions, messages: unknown, where: string): MarkedDocument {
  try {
    return encodeChat(messages);
  } catch (error) {
    if (!(error instanceof LfmError)) throw error;
    throw new LfmError('bad-chat', `${where}: ${error.message}`, { cause: error });
  }
}

/** Rows of one split, their tokens and marks side by side. */
class MarkedSplit {
  readonly #packer: RowPacker;
  readonly #tokens: ShardWriter;
  readonly #marks: ShardWriter;

  constructor(
    folder: FolderWriter,
    name: string,
    { tokenizer, tokenizerHash, length, shardTokens = 2 ** 24 }: PrepareChatsOptions,
  ) {
    this.#packer = new RowPacker(length, tokenizer.endOfText);
    this.#tokens = new ShardWriter(folder, name, tokenizer, tokenizerHash, shardTokens);
    const marks = { vocabSize: MARK_COUNT, endOfText: BEGINS };
    this.#marks = new ShardWriter(folder, `${name}-marks`, marks, tokenizerHash, shardTokens);
  }

  async add(chat: MarkedDocument): Promise<void> {
    const row = this.#packer.add(chat);
    if (row) await this.#write(row);
  }

  /** With one token more behind the last row, whose label it is. */
  async finish(): Promise<{ tokens: SplitInfo; marks: SplitInfo }> {
    for (const row of this.#packer.finish()) await this.#write(row);
    for (const writer of [this.#tokens, this.#marks]) await writer.finish();
    return { tokens: this.#tokens.info(), marks: this.#marks.info() };
  }

  async #write({ ids, marks, bytes }: Row): Promise<void> {
    await this.#tokens.append(ids, bytes);
    await this.#marks.append(marks, 0);
  }
}
