// The tokenizer that a GGUF file's metadata holds, as the tokenizer.json of the same model: one reader serves both.
// Keys: tokenizer.ggml.…; how each name of a pre-tokenizer splits: llama.cpp, llama-vocab.cpp.

import type { JsonObject } from '../files/json.ts';
import type { GgufValue } from '../files/gguf.ts';
import { LfmError } from '../tensor/error.ts';
import { LFM2_PATTERN } from './scan.ts';
import { parseNormalizer, parsePreTokenizer } from './tokenizer-json-parts.ts';
import type { TokenizerDefinition } from './tokenizer.ts';
import { SPM_MARK, spmMerges } from './spm.ts';
import { Vocabulary } from './vocabulary.ts';

type Metadata = ReadonlyMap<string, GgufValue>;

const QWEN2_PATTERN = LFM2_PATTERN.replace('{1,3}', '');

const split = (pattern: string) => ({
  type: 'Split',
  pattern: { Regex: pattern },
  behavior: 'Isolated',
  invert: false,
});
const bytes = (useRegex: boolean) => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});
const steps = (...pretokenizers: JsonObject[]): JsonObject => ({ type: 'Sequence', pretokenizers });

const GPT2 = steps(bytes(true));
const SINGLE_DIGITS = steps({ type: 'Digits', individual_digits: true }, bytes(true));
const LLAMA3 = steps(split(LFM2_PATTERN), bytes(false));
const QWEN2 = steps(split(QWEN2_PATTERN), bytes(false));
/** What llama.cpp does for a file that names none. */
const UNNAMED = steps(
  split('[\\p{P}\\$\\+<=>\\^~\\|]+'),
  split("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"),
  split('\\p{N}+'),
  split('[0-9][0-9][0-9]'),
  bytes(false),
);

interface Kind {
  readonly preTokenizer: JsonObject | null;
  readonly normalizer?: JsonObject;
  /** Whether a word that is a token is taken whole. */
  readonly ignoreMerges?: boolean;
  /** Where the file does not say. */
  readonly addBos?: boolean;
}

const llama3: Kind = { preTokenizer: LLAMA3, ignoreMerges: true, addBos: true };
const kinds: ReadonlyMap<GgufValue | undefined, Kind> = new Map<GgufValue | undefined, Kind>([
  [undefined, { preTokenizer: UNNAMED }],
  ['default', { preTokenizer: UNNAMED }],
  ...named(['gpt-2', 'phi-2', 'mpt', 'olmo', 'jais', 'roberta-bpe'], { preTokenizer: GPT2 }),
  ...named(['smollm', 'starcoder', 'refact', 'command-r', 'codeshell', 'exaone'], { preTokenizer: SINGLE_DIGITS }),
  ...named(['llama3', 'llama-v3', 'llama-bpe', 'falcon3', 'pixtral', 'lfm2'], llama3),
  ...named(['dbrx', 'smaug-bpe'], { preTokenizer: LLAMA3 }),
  ...named(['qwen2', 'stablelm2', 'deepseek-r1-qwen'], { preTokenizer: QWEN2, normalizer: { type: 'NFC' } }),
]);

const spm: Kind = { preTokenizer: null, addBos: true };

function named(names: readonly string[], kind: Kind): [string, Kind][] {
  return names.map((name) => [name, kind]);
}

/**
 * The name that GGUF has for such splits; among several, one that takes words whole as told, and the architecture's own.
 * undefined: none has them.
 */
export function preTokenizerName(
  { preTokenizer, normalizer = [], ignoreMerges }: TokenizerDefinition,
  architecture?: string,
): string | undefined {
  const wanted = JSON.stringify([normalizer, preTokenizer, ignoreMerges]);
  const names = [...kinds].flatMap(([name, kind]) => {
    const of = [
      parseNormalizer(kind.normalizer),
      parsePreTokenizer(kind.preTokenizer, true),
      kind.ignoreMerges ?? false,
    ];
    return typeof name === 'string' && JSON.stringify(of) === wanted ? name : [];
  });
  return names.find((name) => name === architecture) ?? names[0];
}

/** Kinds of token (llama.cpp, llama_token_type). */
export const NORMAL = 1;
export const CONTROL = 3;
export const USER_DEFINED = 4;
export const UNUSED = 5;

/**
 * A tokenizer.json of the same tokens, merges and splits; undefined when the file has no tokenizer.
 * Errors: `tokenizer-unsupported` with what is known; `tokenizer-invalid` naming the key.
 */
export function tokenizerJsonFromGguf(metadata: Metadata): JsonObject | undefined {
  const model = metadata.get('tokenizer.ggml.model');
  if (model === undefined) return undefined;
  if (model !== 'gpt2' && model !== 'llama')
    throw unsupported('tokenizer.ggml.model', model, 'gpt2 (byte-level BPE) and llama (SentencePiece BPE)');
  const isSpm = model === 'llama';
  const pre = metadata.get('tokenizer.ggml.pre');
  const kind = isSpm ? spm : kinds.get(pre);
  if (!kind)
    throw unsupported('tokenizer.ggml.pre', pre, [...kinds.keys()].filter((name) => name !== undefined).join(', '));
  const tokens = strings(metadata, 'tokenizer.ggml.tokens');
  const types = typesOf(metadata, tokens.length);
  const ids = new Vocabulary();
  const addedTokens: JsonObject[] = [];
  for (const [id, content] of tokens.entries()) {
    const type = types[id];
    if (type === UNUSED) continue;
    if (ids.has(content)) throw invalid(`tokenizer.ggml.tokens[${id}]`, 'a token of its own', content);
    ids.set(content, id);
    if (type === CONTROL || type === USER_DEFINED)
      addedTokens.push({ id, content, ...plainToken, special: type === CONTROL });
  }
  const spell = (key: string): string[] => {
    const id = tokenId(metadata, key, tokens.length);
    if (id === undefined) throw invalid(key, 'given, since it is put with every text', id);
    return [tokens[id] ?? ''];
  };
  const leads = flag(metadata, 'tokenizer.ggml.add_space_prefix', true);
  const before = flag(metadata, 'tokenizer.ggml.add_bos_token', kind.addBos ?? false);
  const after = flag(metadata, 'tokenizer.ggml.add_eos_token', false);
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens,
    normalizer: isSpm ? spmNormalizer(leads) : kind.normalizer,
    pre_tokenizer: kind.preTokenizer,
    post_processor: template(
      before ? spell('tokenizer.ggml.bos_token_id') : [],
      after ? spell('tokenizer.ggml.eos_token_id') : [],
      ids,
    ),
    decoder: isSpm ? spmDecoder(leads) : bytes(true),
    model: {
      type: 'BPE',
      byte_fallback: isSpm,
      ignore_merges: kind.ignoreMerges ?? false,
      vocab: ids,
      merges: isSpm
        ? spmMerges(ids, (id) => types[id] === NORMAL, scoresOf(metadata, tokens.length))
        : strings(metadata, 'tokenizer.ggml.merges'),
    },
  };
}

/** A tokenizer_config.json: the chat template, and the tokens that it may name. */
export function tokenizerConfigFromGguf(metadata: Metadata): JsonObject {
  const chatTemplate = metadata.get('tokenizer.chat_template');
  if (chatTemplate !== undefined && typeof chatTemplate !== 'string')
    throw invalid('tokenizer.chat_template', 'a text', chatTemplate);
  const tokens = metadata.has('tokenizer.ggml.tokens') ? strings(metadata, 'tokenizer.ggml.tokens') : [];
  const token = (name: string) => tokens[tokenId(metadata, `tokenizer.ggml.${name}_token_id`, tokens.length) ?? -1];
  return {
    bos_token: token('bos'),
    eos_token: token('eos'),
    pad_token: token('padding'),
    chat_template: chatTemplate,
  };
}

/** What config.json says of single tokens. Errors: `tokenizer-invalid`. */
export function tokenIdsFromGguf(metadata: Metadata): JsonObject {
  const id = (name: string) => tokenId(metadata, `tokenizer.ggml.${name}_token_id`, Infinity) ?? null;
  return { bos_token_id: id('bos'), eos_token_id: id('eos'), pad_token_id: id('padding') };
}

/** The ids that end a text: of a sentence, and of a turn where the file tells it apart. Errors: `tokenizer-invalid`. */
export function endIdsFromGguf(metadata: Metadata): number[] {
  const ids = ['eos', 'eot'].map((name) => tokenId(metadata, `tokenizer.ggml.${name}_token_id`, Infinity));
  return [...new Set(ids.filter((id) => id !== undefined))];
}

/** What the `tokenizers` library wants said of every added token. */
const plainToken = { single_word: false, lstrip: false, rstrip: false, normalized: false };
/** Spaces as marks, and one before each stretch of text where the file says so. */
function spmNormalizer(leads: boolean): JsonObject {
  const replace = { type: 'Replace', pattern: { String: ' ' }, content: SPM_MARK };
  return { type: 'Sequence', normalizers: leads ? [{ type: 'Prepend', prepend: SPM_MARK }, replace] : [replace] };
}

function spmDecoder(leads: boolean): JsonObject {
  const steps = [
    { type: 'Replace', pattern: { String: SPM_MARK }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
  ];
  const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 };
  return { type: 'Sequence', decoders: leads ? [...steps, strip] : steps };
}

function template(before: readonly string[], after: readonly string[], ids: ReadonlyMap<string, number>): JsonObject {
  const around = (sequence: string, type: number) => {
    const special = (content: string) => ({ SpecialToken: { id: content, type_id: type } });
    return [...before.map(special), { Sequence: { id: sequence, type_id: type } }, ...after.map(special)];
  };
  return {
    type: 'TemplateProcessing',
    single: around('A', 0),
    pair: [...around('A', 0), ...around('B', 1)],
    special_tokens: Object.fromEntries(
      [...new Set([...before, ...after])].map((content) => [
        content,
        { id: content, ids: [ids.get(content)], tokens: [content] },
      ]),
    ),
  };
}

function strings(metadata: Metadata, key: string): readonly string[] {
  const value = metadata.get(key);
  if (Array.isArray(value) && value.every((each) => typeof each === 'string')) return value;
  throw invalid(key, 'a list of texts', value);
}

function typesOf(metadata: Metadata, count: number): ArrayLike<number> {
  const types = metadata.get('tokenizer.ggml.token_type') ?? new Int32Array(count);
  if ((types instanceof Int32Array || types instanceof Uint32Array) && types.length === count) return types;
  throw invalid('tokenizer.ggml.token_type', `a list of ${count} numbers, one a token`, types);
}

function scoresOf(metadata: Metadata, count: number): ArrayLike<number> {
  const scores = metadata.get('tokenizer.ggml.scores');
  if (scores instanceof Float32Array && scores.length === count) return scores;
  throw invalid('tokenizer.ggml.scores', `a list of ${count} numbers, one a token`, scores);
}

function tokenId(metadata: Metadata, key: string, count: number): number | undefined {
  const id = metadata.get(key);
  if (id === undefined || (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < count)) return id;
  throw invalid(key, `a token's id, below ${count}`, id);
}

function flag(metadata: Metadata, key: string, absent: boolean): boolean {
  const value = metadata.get(key) ?? absent;
  if (typeof value === 'boolean') return value;
  throw invalid(key, 'true or false', value);
}

function show(found: GgufValue | undefined): string {
  if (found === undefined) return 'nothing';
  return typeof found === 'object' ? `a list of ${found.length}` : JSON.stringify(String(found).slice(0, 80));
}

function invalid(key: string, expected: string, found: GgufValue | undefined): LfmError {
  return new LfmError('tokenizer-invalid', `The GGUF metadata ${key} must be ${expected}; found ${show(found)}.`);
}

function unsupported(key: string, found: GgufValue | undefined, supported: string): LfmError {
  return new LfmError(
    'tokenizer-unsupported',
    `The GGUF metadata ${key} is ${show(found)}, which is not supported; supported: ${supported}.`,
  );
}
