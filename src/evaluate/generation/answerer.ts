// Greedy answers to many prompts: by the scheduler, or on an accelerator by batches that stay on the device.
import { BatchGenerator } from '../../generate/batch.ts';
import type { ChatTemplate } from '../../generate/chat.ts';
import { load } from '../../generate/load.ts';
import type { Tokenizer } from '../../text/tokenizer.ts';
import type { MeasuredModel, MeasuredOptions } from '../measured-model.ts';
import { openMeasured } from '../measured-model.ts';
import type { BlockOptions } from '../part.ts';

/** What a model is asked, and how its answer is begun for it. */
export interface Question {
  readonly text: string;
  readonly beginning?: string;
}

export interface Answerer extends AsyncDisposable {
  readonly name: string;
  readonly engine: string;
  /** Tokens of prompt and answer. */
  readonly contextLength: number;
  /** In the model's chat template; of a base model the text itself. Errors: those of the template. */
  encode(question: Question): number[];
  /** Prompts best answered at once, of which the longest has so many tokens. */
  batchOf(longest: number, maxTokens: number): number;
  /** Texts, without control tokens. `longest`: tokens of the longest prompt of all calls, so that they share programs. */
  answer(
    prompts: readonly (readonly number[])[],
    options: BlockOptions & { readonly maxTokens: number; readonly longest: number },
  ): Promise<string[]>;
}

/** Rows that the scheduler runs side by side. */
const SIDE_BY_SIDE = 8;
const MOST_ROWS = 64;
/** Scores of attention that a prefill may hold, for each head: 0.6 GB. */
const MOST_SCORES = 1.5e8;
const STEPS = 64;

/** Errors: those of `load`. */
export function openAnswerer(name: string, options: MeasuredOptions): Promise<Answerer> {
  return options.engine?.name === 'xla' ? openOnDevice(name, options) : openScheduled(name, options);
}

function encoderOf(template: ChatTemplate | undefined, tokenizer: Tokenizer): Answerer['encode'] {
  return ({ text, beginning = '' }) => {
    if (!template) return Array.from(tokenizer.encode(beginning === '' ? text : `${text} ${beginning}`));
    const user = { role: 'user', content: text } as const;
    if (beginning === '') return template.encode([user]);
    return template.encode([user, { role: 'assistant', content: beginning }], { continueFinalMessage: true });
  };
}

async function openScheduled(
  name: string,
  { engine, numerics = 'exact', onProgress, signal }: MeasuredOptions,
): Promise<Answerer> {
  const model = await load(name, { engine, numerics, maxBatch: SIDE_BY_SIDE, onProgress, signal });
  return {
    name: model.name,
    engine: model.engine,
    contextLength: model.contextLength,
    encode: encoderOf(model.chats ? model.chatTemplate : undefined, model.tokenizer),
    batchOf: () => SIDE_BY_SIDE,
    async answer(prompts, { maxTokens, signal: stop, onProgress: hear }) {
      let done = 0;
      const greedy = { temperature: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0 };
      const ask = async (prompt: readonly number[]) => {
        const { text } = await model.continue(prompt, { ...greedy, maxTokens, signal: stop });
        hear(++done / prompts.length);
        return text;
      };
      return Promise.all(prompts.map(ask));
    },
    [Symbol.asyncDispose]: () => model[Symbol.asyncDispose](),
  };
}

async function openOnDevice(name: string, options: MeasuredOptions): Promise<Answerer> {
  const { dtype = 'float32' } = options;
  let measured: MeasuredModel = await openMeasured(name, { ...options, dtype: 'float32' });
  const { tokenizer, template, stopIds, model, engine } = measured;
  let current: { readonly size: string; readonly generator: BatchGenerator } | undefined;
  const capacityOf = (longest: number, maxTokens: number) =>
    (Math.ceil(longest / STEPS) + Math.ceil(maxTokens / STEPS)) * STEPS;
  const batchOf = (longest: number, maxTokens: number) => {
    const fits = Math.floor(MOST_SCORES / (longest * capacityOf(longest, maxTokens)));
    return Math.min(MOST_ROWS, Math.max(1, fits));
  };
  /** Batches of another size take the weights anew: a generator makes them its own. */
  const generatorFor = async (longest: number, maxTokens: number): Promise<BatchGenerator> => {
    const [batch, capacity] = [batchOf(longest, maxTokens), capacityOf(longest, maxTokens)];
    const size = [batch, capacity].join();
    if (current?.size === size) return current.generator;
    if (current) {
      current.generator.dispose();
      current = undefined;
      await measured[Symbol.asyncDispose]();
      measured = await openMeasured(name, { ...options, dtype: 'float32' });
    }
    const { engine: own, weights } = measured;
    const generator = await BatchGenerator.open(own, measured.model, weights, { batch, capacity, dtype });
    current = { size, generator };
    return generator;
  };
  return {
    name: measured.name,
    engine: engine.description,
    contextLength: model.contextLength,
    encode: encoderOf(template, tokenizer),
    batchOf,
    async answer(prompts, { maxTokens, longest }) {
      const generator = await generatorFor(longest, maxTokens);
      const answers = await generator.answer(prompts, { maxTokens, seed: 0, endTokens: stopIds, longest });
      return answers.map(({ tokens }) => tokenizer.decode(tokens, { skipSpecialTokens: true }));
    },
    async [Symbol.asyncDispose]() {
      current?.generator.dispose();
      await measured[Symbol.asyncDispose]();
    },
  };
}
