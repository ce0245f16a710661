// The recipe of a user's own text: an adapter of a model that is there, trained on a file of text or of chats.
import { basename } from 'node:path';
import { readText } from '../data/text-files.node.ts';
import { isJsonObject } from '../files/json.ts';
import { openSource } from '../generate/source.node.ts';
import { requireTokenizer } from '../generate/source.ts';
import { definedModel } from '../generate/weights.ts';
import { readTokenizerJson } from '../text/tokenizer-json.ts';
import { LfmError } from '../tensor/error.ts';
import type { Recipe } from './recipe.ts';
import { parseRecipe } from './recipe.ts';

export interface FinetuneOptions {
  readonly rank?: number | undefined;
  readonly alpha?: number | undefined;
  readonly learningRate?: number | undefined;
  /** Tokens a row. */
  readonly length?: number | undefined;
  /** What is to be said before and after. Default: how the file begins. */
  readonly prompt?: string | undefined;
  readonly engine?: Partial<Recipe['engine']> | undefined;
}

/** More steps than any budget of time leaves. */
const MOST_STEPS = 1e6;
/** Tokens of a step, whatever a row holds: small steps are many, which is what few minutes need. */
const STEP_TOKENS = 512;
const ROW_TOKENS = { text: 256, chat: 512 };
const LEARNING_RATE = 0.003;
/** A text is cut into so many pieces, of which a tenth is held out, of sizes in bytes. */
const PIECES = 40;
const [SMALLEST_PIECE, LARGEST_PIECE] = [256, 16_384];
/** Of the text, what a beginning is told by, in letters. */
const PROMPT_LETTERS = 60;

/**
 * An adapter of `model`, which is any that loads, trained on `file`: chats where its first line holds "messages", else text. Its
 * steps are to be limited by a budget. Errors: those of openSource and of reading the file, `tokenizer-missing`,
 * `no-end-of-text`, `bad-recipe`.
 */
export async function finetuneRecipe(model: string, file: string, options: FinetuneOptions = {}): Promise<Recipe> {
  const beginning = await beginningOf(file);
  const { endOfText, contextLength } = await aboutModel(model);
  const { rank, alpha, learningRate = LEARNING_RATE, engine = {} } = options;
  const length = options.length ?? Math.min(contextLength, ROW_TOKENS[beginning.kind]);
  if (length > contextLength)
    throw new LfmError('bad-flags', `--length ${length}: ${model} reads at most ${contextLength} tokens.`);
  const blockBytes = Math.max(SMALLEST_PIECE, Math.min(LARGEST_PIECE, Math.floor(beginning.bytes / PIECES)));
  return parseRecipe(
    {
      format: 1,
      name: `${nameOf(model)}-${nameOf(file)}`,
      model: { from: model },
      adapter: { kind: 'lora', ...(rank !== undefined && { rank }), ...(alpha !== undefined && { alpha }) },
      tokenizer: { endOfText },
      data: { sources: [{ name: 'own', kind: beginning.kind, paths: [file] }] },
      batch: { size: Math.max(1, Math.floor(STEP_TOKENS / length)), length },
      optimizer: { weightDecay: 0 },
      schedule: { kind: 'cosine', warmupSteps: MOST_STEPS / 20 },
      learningRate,
      steps: MOST_STEPS,
      heldOut: { share: 0.1, everySteps: 100, maxTokens: 4096, blockBytes },
      checkpoint: { everySteps: 25, keep: 1 },
      engine,
      sample: { prompt: options.prompt ?? beginning.prompt, maxTokens: 60, temperature: 0 },
    },
    'the recipe of lfm finetune',
  );
}

function nameOf(path: string): string {
  const [stem = ''] = basename(path).split(/\.(?:gguf|txt|jsonl)\b/i);
  return stem.replaceAll(/[^\w.-]+/g, '-').replace(/^[^a-z0-9]+/i, '') || 'model';
}

/** What documents end with in the model's own training, as far as its tokenizer tells, and how much it reads. */
async function aboutModel(name: string): Promise<{ endOfText: string; contextLength: number }> {
  const source = await openSource(name);
  try {
    const tokenizer = readTokenizerJson(requireTokenizer(source));
    const { eos_token: eos } = isJsonObject(source.tokenizerConfig) ? source.tokenizerConfig : {};
    const own = isJsonObject(eos) ? eos['content'] : eos;
    const known = ['<|endoftext|>', '<|end_of_text|>', own, '</s>', '<|im_end|>'];
    const endOfText = known.find((token) => typeof token === 'string' && tokenizer.idOf(token) !== undefined);
    if (typeof endOfText !== 'string')
      throw new LfmError(
        'no-end-of-text',
        `${name} has no token that closes a document: name one as tokenizer.endOfText in a recipe.`,
      );
    return { endOfText, contextLength: definedModel(source).model.contextLength };
  } finally {
    await source.weights.close();
  }
}

interface Beginning {
  readonly kind: 'text' | 'chat';
  /** Of the file's text, or more than are needed here. */
  readonly bytes: number;
  readonly prompt: string;
}

/** Errors: `no-data` for an empty file, `bad-file-type`, those of readText. */
async function beginningOf(file: string): Promise<Beginning> {
  const isLines = /\.jsonl(?:\.br|\.gz)?$/.test(file);
  let text = '';
  let bytes = 0;
  const decoder = new TextDecoder();
  for await (const chunk of readText(file)) {
    bytes += chunk.length;
    text += decoder.decode(chunk, { stream: true });
    if (bytes > PIECES * LARGEST_PIECE) break;
  }
  if (text.trim() === '') throw new LfmError('no-data', `${file} is empty: expected text, or lines of chats.`);
  if (!isLines) return { kind: 'text', bytes, prompt: opening(text) };
  const [line = ''] = text.trim().split('\n');
  let first: unknown;
  try {
    first = JSON.parse(line);
  } catch {
    return { kind: 'text', bytes, prompt: '' }; // what is wrong with the line, the reader of the whole file says better
  }
  if (!isJsonObject(first)) return { kind: 'text', bytes, prompt: '' };
  const { messages, text: own } = first;
  if (!Array.isArray(messages)) return { kind: 'text', bytes, prompt: typeof own === 'string' ? opening(own) : '' };
  const asked: unknown = messages.find((message) => isJsonObject(message) && message['role'] === 'user');
  const content = isJsonObject(asked) ? asked['content'] : '';
  return { kind: 'chat', bytes, prompt: typeof content === 'string' ? content : '' };
}

/** The first words of a text. */
function opening(text: string): string {
  const [line = ''] = text.trim().split('\n');
  return line.length <= PROMPT_LETTERS ? line : line.slice(0, PROMPT_LETTERS).replace(/\s+\S*$/, '');
}
