// How fast a model generates: at growing lengths and what its state takes there, on the second turn of a conversation, and for
// several texts at once. Times are of this machine, now.
import { stateBytes } from '../liquid/index.ts';
import { Random } from '../tensor/index.ts';
import type { Generator } from './generator.ts';
import type { Choice } from './sampler.ts';
import { Sampler } from './sampler.ts';
import type { GenerateOptions, Scheduler } from './scheduler.ts';

export interface Measurement {
  /** Tokens in the text. */
  readonly context: number;
  /** From the prompt to the first token, in milliseconds, the second time: the first one compiles and touches memory. */
  readonly firstTokenMs: number;
  readonly prefillTokensPerSecond: number;
  /** Median time of a token at this length, sampling included. */
  readonly tokenMs: number;
  readonly decodeTokensPerSecond: number;
  /** Of which choosing the token. */
  readonly samplingMs: number;
  /** What the text needs to be remembered. */
  readonly stateBytes: number;
  /** What the buffers for it take: they have room for more tokens. */
  readonly bufferBytes: number;
}

/** Tokens decoded at each length. */
const DECODED = 32;

/** Measures texts of random tokens, one length after the other. Lengths that the context has no room for are left out. */
export async function* measureGeneration(
  generator: Generator,
  contexts: readonly number[],
  signal?: AbortSignal,
): AsyncGenerator<Measurement, void, undefined> {
  const random = new Random(0);
  const { classes } = generator.model.head;
  for (const context of contexts.filter((length) => length + DECODED <= generator.contextLength)) {
    const prompt = Array.from({ length: context }, () => random.bits() % classes);
    let measured: Measurement | undefined;
    for (let turn = 0; turn < 2; turn++) measured = await measureOnce(generator, prompt, signal);
    if (measured) yield measured;
  }
}

async function measureOnce(
  generator: Generator,
  prompt: readonly number[],
  signal?: AbortSignal,
): Promise<Measurement> {
  const sampler = new Sampler({ temperature: 0.8, minP: 0.05, seed: 1 });
  const state = await generator.open(prompt.length + DECODED);
  try {
    let next = prompt;
    let firstTokenMs = 0;
    const tokens: number[] = [];
    const samplings: number[] = [];
    for (let count = 0; count <= DECODED; count++) {
      const start = performance.now();
      const [logits] = await generator.feed(state, [next], signal);
      const reached = performance.now();
      if (logits) next = [sampler.sample(logits).id];
      const end = performance.now();
      if (count === 0) firstTokenMs = end - start;
      else {
        tokens.push(end - start);
        samplings.push(end - reached);
      }
    }
    const tokenMs = median(tokens);
    return {
      context: prompt.length,
      firstTokenMs,
      prefillTokensPerSecond: (1000 * prompt.length) / firstTokenMs,
      tokenMs,
      decodeTokensPerSecond: 1000 / tokenMs,
      samplingMs: median(samplings),
      stateBytes: stateBytes(generator.model, prompt.length, 'float32'),
      bufferBytes: Object.values(state.buffers).reduce((sum, { byteLength }) => sum + byteLength, 0),
    };
  } finally {
    generator.release(state);
  }
}

/** From the prompt to the first token, in milliseconds, medians. */
export interface TurnMeasurement {
  /** Tokens of the first turn's prompt, and of all that the second turn's holds. */
  readonly promptTokens: number;
  readonly secondPromptTokens: number;
  readonly firstTurnMs: number;
  readonly secondTurnMs: number;
  /** The second turn, computed from its beginning. */
  readonly secondTurnUncachedMs: number;
  /** How much sooner the cache makes it. */
  readonly ratio: number;
  /** Of the second turn's tokens that did not have to be computed. */
  readonly cachedTokens: number;
  /** Whether both ways chose the same tokens, and how far their log-probabilities lie apart at most. */
  readonly isSame: boolean;
  readonly logprobDifference: number;
  /** What the cache holds after it. */
  readonly cacheBytes: number;
}

/** Tokens of an answer, and of a question. */
const ANSWERED = 16;
const ASKED = 24;
const ROUNDS = 5;

/** Measures two turns of conversations of random tokens, the second with the cache and, as another tenant's, without. */
export async function measureTurns(
  scheduler: Scheduler,
  promptTokens: number,
  signal?: AbortSignal,
): Promise<TurnMeasurement> {
  const random = new Random(3);
  const { classes } = scheduler.generator.model.head;
  const draw = (count: number) => Array.from({ length: count }, () => random.bits() % classes);
  const ask = async (prompt: readonly number[], tenant: string) => {
    const start = performance.now();
    const stream = scheduler.generate(prompt, { temperature: 0, maxTokens: ANSWERED, tenant }, signal);
    const choices: Choice[] = [];
    let firstMs = 0;
    for await (const choice of stream) {
      if (choices.length === 0) firstMs = performance.now() - start;
      choices.push(choice);
    }
    return { choices, firstMs, cachedTokens: stream.cachedTokens };
  };
  const rounds: { first: number; second: number; uncached: number; far: number; isSame: boolean; cached: number }[] =
    [];
  // The first round compiles and touches memory.
  for (let round = 0; round <= ROUNDS; round++) {
    await scheduler.clearCache();
    const prompt = draw(promptTokens);
    const first = await ask(prompt, 'kept');
    const next = [...prompt, ...first.choices.map(({ id }) => id), ...draw(ASKED)];
    const second = await ask(next, 'kept');
    const uncached = await ask(next, `alone ${round}`);
    if (round === 0) continue;
    rounds.push({
      first: first.firstMs,
      second: second.firstMs,
      uncached: uncached.firstMs,
      far: Math.max(...second.choices.map(({ logprob }, i) => Math.abs(logprob - (uncached.choices[i]?.logprob ?? 0)))),
      isSame: second.choices.every(({ id }, i) => id === uncached.choices[i]?.id),
      cached: second.cachedTokens,
    });
  }
  const secondTurnMs = median(rounds.map(({ second }) => second));
  const secondTurnUncachedMs = median(rounds.map(({ uncached }) => uncached));
  const { bytes } = scheduler.cache;
  await scheduler.clearCache();
  return {
    promptTokens,
    secondPromptTokens: promptTokens + ANSWERED + ASKED,
    firstTurnMs: median(rounds.map(({ first }) => first)),
    secondTurnMs,
    secondTurnUncachedMs,
    ratio: secondTurnUncachedMs / secondTurnMs,
    cachedTokens: median(rounds.map(({ cached }) => cached)),
    isSame: rounds.every(({ isSame }) => isSame),
    logprobDifference: Math.max(...rounds.map(({ far }) => far)),
    cacheBytes: bytes,
  };
}

export interface BatchMeasurement {
  /** Texts side by side. */
  readonly batch: number;
  /** Of all of them together, while all run; the better of two. */
  readonly tokensPerSecond: number;
  /** Over those of one text. */
  readonly ratio: number;
}

/** Tokens of each text while it is measured. */
const BATCHED = 96;

/** Measures decoding of several texts at once, up to as many as the scheduler lets run. */
export async function* measureBatches(
  scheduler: Scheduler,
  batches: readonly number[],
  signal?: AbortSignal,
): AsyncGenerator<BatchMeasurement, void, undefined> {
  const random = new Random(5);
  const { classes } = scheduler.generator.model.head;
  const options: GenerateOptions = { temperature: 0.8, minP: 0.05, maxTokens: BATCHED };
  const run = async (batch: number) => {
    const streams = Array.from({ length: batch }, (_, seed) => {
      const prompt = Array.from({ length: 32 }, () => random.bits() % classes);
      return scheduler.generate(prompt, { ...options, seed }, signal);
    });
    const times = await Promise.all(
      streams.map(async (stream) => {
        const arrived: number[] = [];
        for await (const choice of stream) if (choice.id >= 0) arrived.push(performance.now());
        return arrived;
      }),
    );
    // While all run: a text has its slot once its second token has come.
    const from = Math.max(...times.map((arrived) => arrived[1] ?? 0));
    const to = Math.min(...times.map((arrived) => arrived.at(-1) ?? 0));
    return (1000 * times.flat().filter((time) => time > from && time <= to).length) / (to - from);
  };
  let one: number | undefined;
  for (const batch of batches) {
    const found = [await run(batch), await run(batch), await run(batch)].slice(1);
    const tokensPerSecond = Math.max(...found);
    one ??= tokensPerSecond / batch;
    yield { batch, tokensPerSecond, ratio: tokensPerSecond / one };
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}
