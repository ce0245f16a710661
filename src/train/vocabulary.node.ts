// The vocabulary of a run: learned from its own text or read from a file, with what training must know of it.
import { hashing } from '../files/manifest.node.ts';
import { readTextIfPresent } from '../files/json.node.ts';
import type { Model } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { BpeTrainProgress } from '../text/bpe-train.ts';
import { trainBpe } from '../text/bpe-train.ts';
import { formatTokenizerJson } from '../text/tokenizer-json-write.ts';
import { parseTokenizerJson } from '../text/tokenizer-json.ts';
import { Tokenizer } from '../text/tokenizer.ts';

export interface Vocabulary {
  readonly tokenizer: Tokenizer;
  /** Its tokenizer.json, as it is saved with the model. */
  readonly json: string;
  /** SHA-256 of `json`, lower-case hexadecimal. */
  readonly hash: string;
  /** Closes every document, and stands before every text. */
  readonly endOfText: number;
  readonly pad: number | null;
  /** Bytes of text that each token stands for; 0 for special tokens. */
  readonly bytesOf: Int32Array;
}

/** Errors: those of parseTokenizerJson, and `no-end-of-text` where the token that should close documents is missing. */
export function makeVocabulary(json: string, endOfText: string, what: string): Vocabulary {
  const tokenizer = parseTokenizerJson(json);
  const end = tokenizer.idOf(endOfText);
  if (end === undefined) {
    throw new LfmError(
      'no-end-of-text',
      `${what} has no token "${endOfText}": name the token that closes a document as tokenizer.endOfText in the recipe.`,
    );
  }
  const bytesOf = Int32Array.from({ length: tokenizer.vocabSize }, (_, id) =>
    tokenizer.isSpecial(id) ? 0 : tokenizer.decodeBytes([id]).length,
  );
  const hash = hashing().update(json).digest('hex');
  return { tokenizer, json, hash, endOfText: end, pad: tokenizer.idOf('<|pad|>') ?? null, bytesOf };
}

/** The model, where each token of the vocabulary has a place in it. Errors: `vocabulary-mismatch`. */
export function requireVocabulary(model: Model, { tokenizer }: Vocabulary): Model {
  if (tokenizer.vocabSize <= model.head.classes) return model;
  throw new LfmError(
    'vocabulary-mismatch',
    `The tokenizer has ${tokenizer.vocabSize} tokens, the model ${model.head.classes}: give the model a vocabSize of at least ${tokenizer.vocabSize}.`,
  );
}

/** Errors: `file-missing`, and those of makeVocabulary. */
export async function readVocabulary(path: string, endOfText: string): Promise<Vocabulary> {
  const json = await readTextIfPresent(path);
  if (json === undefined)
    throw new LfmError('file-missing', `There is no tokenizer at ${path}: expected the path of a tokenizer.json.`);
  return makeVocabulary(json, endOfText, path);
}

export interface LearnOptions {
  readonly vocabSize: number;
  readonly endOfText: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress: (progress: BpeTrainProgress) => void;
}

/**
 * A tokenizer.json learned from text. A text encoded with it begins with the end-of-text token: that is what stood before
 * every document in training. Errors: those of trainBpe; `no-end-of-text` where it is not one of the special tokens.
 */
export async function learnVocabulary(
  texts: AsyncIterable<Uint8Array>,
  { vocabSize, endOfText, signal, onProgress }: LearnOptions,
): Promise<string> {
  const { definition } = await trainBpe(texts, { vocabSize, onProgress, ...(signal && { signal }) });
  const end = definition.addedTokens.find(({ content }) => content === endOfText);
  if (!end) {
    const known = definition.addedTokens.map(({ content }) => content).join(', ');
    throw new LfmError(
      'no-end-of-text',
      `A learned tokenizer has the special tokens ${known}; tokenizer.endOfText names "${endOfText}": expected one of them.`,
    );
  }
  return formatTokenizerJson(new Tokenizer({ ...definition, prefix: [end.id] }));
}
