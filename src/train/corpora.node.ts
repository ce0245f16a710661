// From text files to token sources: read and checked, a vocabulary learned, corpora prepared; each kept by its content.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { BlockCutter } from '../data/blocks.ts';
import type { Corpus } from '../data/corpus.node.ts';
import { openCorpus } from '../data/corpus.node.ts';
import type { DocumentPolicy } from '../data/documents.ts';
import { prepareChats } from '../data/prepare-chats.node.ts';
import { prepareCorpus } from '../data/prepare.node.ts';
import { readText, splitterFor } from '../data/text-files.node.ts';
import { writeFileAtomic } from '../files/atomic.node.ts';
import { readTextIfPresent } from '../files/json.node.ts';
import { hashing } from '../files/manifest.node.ts';
import type { ChatTemplate } from '../generate/chat.ts';
import { chatTurns } from '../generate/chat-turns.ts';
import { LfmError } from '../tensor/error.ts';
import type { Vocabulary } from './vocabulary.node.ts';
import { learnVocabulary, makeVocabulary } from './vocabulary.node.ts';

export interface TextSource {
  readonly name: string;
  /** Default: text. */
  readonly kind?: 'text' | 'chat';
  /** Of chats: which turns count. */
  readonly turns?: 'assistant' | 'all';
  readonly paths: readonly string[];
}

/** A source whose files were read once: they are there, decompress, and are UTF-8. */
export interface ScannedSource extends TextSource {
  /** Of the decompressed text. */
  readonly bytes: number;
  /** Names the text and how its files are split, whatever they are called. */
  readonly contentHash: string;
}

/** Work that takes its time: `done` of `total`, in `unit`s. */
export interface Progress {
  readonly stage: 'read' | 'count words' | 'learn vocabulary' | 'prepare corpus';
  readonly what: string;
  readonly unit: 'bytes' | 'tokens';
  readonly done: number;
  /** Absent while nobody knows. */
  readonly total?: number;
}

export interface PrepareContext {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress: (progress: Progress) => void;
}

/** Part of a content hash that is kept in names: short to read, and no two texts of one run share it. */
const HASH_LETTERS = 16;

/** Reads every file of the sources. Errors: `text-…`, `invalid-utf8`, the signal's reason. */
export async function scanSources(
  sources: readonly TextSource[],
  { signal, onProgress }: PrepareContext,
): Promise<ScannedSource[]> {
  const scanned: ScannedSource[] = [];
  for (const { paths, ...source } of sources) {
    const { name } = source;
    const content = hashing();
    let bytes = 0;
    for (const path of paths) {
      splitterFor(path, 'file'); // refuses a name that it does not know
      const file = hashing();
      for await (const chunk of readText(path)) {
        signal?.throwIfAborted();
        file.update(chunk);
        bytes += chunk.length;
        onProgress({ stage: 'read', what: name, unit: 'bytes', done: bytes });
      }
      const kind = /\.jsonl(?:\.br|\.gz)?$/.test(path) ? 'jsonl' : 'txt';
      content.update(`${kind} ${file.digest('hex')}\n`);
    }
    scanned.push({ ...source, paths, bytes, contentHash: content.digest('hex') });
  }
  return scanned;
}

/** Text in the blocks that a corpus is prepared from: they depend on the text alone, not on how it arrives. */
async function* readBlocks(paths: readonly string[], documents: DocumentPolicy): AsyncGenerator<Uint8Array> {
  const cutter = new BlockCutter(2 ** 16);
  for (const path of paths) {
    const splitter = splitterFor(path, documents);
    const cut = function* (pieces: ReturnType<typeof splitter.push>): Iterable<Uint8Array> {
      for (const piece of pieces)
        for (const { bytes } of piece === 'end' ? cutter.end() : cutter.push(piece)) yield bytes;
    };
    for await (const chunk of readText(path)) yield* cut(splitter.push(chunk));
    yield* cut(splitter.end());
  }
}

export interface LearnFrom extends PrepareContext {
  /** Where learned vocabularies and corpora are kept. */
  readonly cache: string;
  readonly sources: readonly ScannedSource[];
  readonly documents: DocumentPolicy;
}

/**
 * The vocabulary learned from all sources of text together, held-out text included, or the one kept from an earlier run.
 * Errors: `no-text` where there are chats alone.
 */
export async function learnedVocabulary(
  { vocabSize, endOfText }: { vocabSize: number; endOfText: string },
  from: LearnFrom,
): Promise<Vocabulary> {
  const { cache, documents, signal, onProgress } = from;
  const sources = from.sources.filter(({ kind }) => kind !== 'chat');
  if (sources.length === 0)
    throw new LfmError(
      'no-text',
      'tokenizer.train: a vocabulary is learned from text, and all sources are chats: add one of text.',
    );
  const key = keyOf({
    version: 1,
    vocabSize,
    endOfText,
    documents,
    texts: sources.map(({ contentHash }) => contentHash),
  });
  const path = join(cache, `tokenizer-${key}.json`);
  const kept = await readTextIfPresent(path);
  if (kept !== undefined) return makeVocabulary(kept, endOfText, path);
  const what = sources.map(({ name }) => name).join(', ');
  const bytes = sources.reduce((sum, source) => sum + source.bytes, 0);
  const texts = async function* () {
    for (const { paths } of sources) yield* readBlocks(paths, documents);
  };
  const json = await learnVocabulary(texts(), {
    vocabSize,
    endOfText,
    signal,
    onProgress: (progress) =>
      onProgress(
        progress.stage === 'count'
          ? { stage: 'count words', what, unit: 'bytes', done: Math.min(progress.read, bytes), total: bytes }
          : { stage: 'learn vocabulary', what, unit: 'tokens', done: progress.size, total: vocabSize },
      ),
  });
  await mkdir(cache, { recursive: true });
  await writeFileAtomic(path, json);
  return makeVocabulary(json, endOfText, path);
}

/** How chats become rows of tokens. */
export interface ChatRows {
  readonly template: ChatTemplate | undefined;
  /** The template's text, by which what was prepared is known again. */
  readonly templateText: string;
  /** Tokens a row. */
  readonly length: number;
  readonly long: 'refuse' | 'leave-out';
  readonly onLeftOut: (source: string, count: number) => void;
}

export interface CorpusOptions extends LearnFrom {
  /** Needed where there are sources of chats. */
  readonly chats?: ChatRows;
  readonly vocabulary: Vocabulary;
  readonly heldOutShare: number;
  /** Bytes of a piece that is held out as a whole. */
  readonly blockBytes?: number | undefined;
  readonly seed: number;
}

/** The sources as corpora, in order; those kept from an earlier run are opened. Close each. */
export async function openCorpora(options: CorpusOptions): Promise<Corpus[]> {
  const { cache, sources, documents, vocabulary, heldOutShare, blockBytes, seed, signal, onProgress } = options;
  const { tokenizer, endOfText, hash } = vocabulary;
  const corpora: Corpus[] = [];
  try {
    for (const source of sources) {
      const { name, paths, bytes, contentHash } = source;
      if (source.kind === 'chat') {
        corpora.push(await openChats(source, options));
        continue;
      }
      const how = { version: 1, contentHash, tokenizer: hash, endOfText, documents, heldOutShare, seed, blockBytes };
      const key = keyOf(how);
      const folder = join(cache, `${name}-${key}`);
      const kept = await openKept(folder, hash);
      if (!kept) {
        await mkdir(cache, { recursive: true });
        await prepareCorpus({
          inputs: paths,
          output: folder,
          tokenizer: {
            vocabSize: tokenizer.vocabSize,
            endOfText,
            encodeBytes: (text) => tokenizer.encodeBytes(text, { addSpecialTokens: false }),
          },
          tokenizerHash: hash,
          documents,
          heldOutShare,
          ...(blockBytes !== undefined && { blockBytes }),
          seed,
          ...(signal && { signal }),
          onProgress: (done) => onProgress({ stage: 'prepare corpus', what: name, unit: 'bytes', done, total: bytes }),
        });
      }
      corpora.push(kept ?? (await openCorpus(folder, hash)));
    }
    return corpora;
  } catch (error) {
    await Promise.all(corpora.map((corpus) => corpus.close()));
    throw error;
  }
}

/** Errors: `no-chat-template`, those of prepareChats. */
async function openChats(source: ScannedSource, options: CorpusOptions): Promise<Corpus> {
  const { cache, vocabulary, heldOutShare, seed, signal, onProgress, chats } = options;
  const { name, paths, bytes, contentHash, turns = 'assistant' } = source;
  const { tokenizer, endOfText, hash } = vocabulary;
  const { template } = chats ?? {};
  if (!chats || !template)
    throw new LfmError(
      'no-chat-template',
      `The source "${name}" holds chats, but the model has no chat template: begin from a chat model, or name a Jinja file as tokenizer.chatTemplate.`,
    );
  const { templateText, length, long } = chats;
  const how = {
    version: 1,
    contentHash,
    tokenizer: hash,
    endOfText,
    heldOutShare,
    seed,
    templateText,
    length,
    long,
    turns,
  };
  const folder = join(cache, `${name}-${keyOf(how)}`);
  const kept = await openKept(folder, hash);
  if (kept) return kept;
  await mkdir(cache, { recursive: true });
  const { leftOut } = await prepareChats({
    inputs: paths,
    output: folder,
    tokenizer: { vocabSize: tokenizer.vocabSize, endOfText },
    tokenizerHash: hash,
    encodeChat: (messages) => {
      const found = chatTurns(template, tokenizer, messages);
      return turns === 'all' ? { ...found, counts: found.ids.map(() => 1) } : found;
    },
    length,
    long,
    heldOutShare,
    seed,
    ...(signal && { signal }),
    onProgress: (done) => onProgress({ stage: 'prepare corpus', what: name, unit: 'bytes', done, total: bytes }),
  });
  if (leftOut > 0) chats.onLeftOut(name, leftOut);
  return openCorpus(folder, hash);
}

/** A corpus that is there and whole; a damaged one is prepared anew in its place. */
async function openKept(folder: string, hash: string): Promise<Corpus | undefined> {
  try {
    return await openCorpus(folder, hash);
  } catch (error) {
    if (error instanceof LfmError) return undefined;
    throw error;
  }
}

function keyOf(parts: object): string {
  return hashing().update(JSON.stringify(parts)).digest('hex').slice(0, HASH_LETTERS);
}
