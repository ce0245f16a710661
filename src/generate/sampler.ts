// Chooses the next token from logits. Order and meaning as in transformers: bias, repetition penalty, temperature, top-k,
// top-p, min-p, typical-p; presence and frequency penalties are OpenAI's.
import { LfmError, Random } from '../tensor/index.ts';
import { indexOfMost, keepNucleus, keepTypical, nthLargest, power } from './cuts.ts';

/** Without options, tokens are drawn from the model's own distribution. */
export interface SamplingOptions {
  /** Divides the logits; 0 takes the likeliest token every time. Default 1. */
  readonly temperature?: number | undefined;
  /** Keeps the k likeliest tokens, and those that tie with the last of them; 0 keeps all. Default 0. */
  readonly topK?: number | undefined;
  /** Keeps the fewest likeliest tokens whose probabilities reach this sum; 1 keeps all. Default 1. */
  readonly topP?: number | undefined;
  /** Keeps tokens with at least this share of the likeliest one's probability; 0 keeps all. Default 0. */
  readonly minP?: number | undefined;
  /**
   * Keeps the tokens whose surprise is nearest the expected one, as few as reach this sum of probabilities; 1 keeps all.
   * Default 1.
   */
  readonly typicalP?: number | undefined;
  /** Above 1, logits of tokens already in the text are divided by it, or multiplied where negative. Default 1. */
  readonly repetitionPenalty?: number | undefined;
  /** Taken off the logits of tokens that were generated, once. Default 0. */
  readonly presencePenalty?: number | undefined;
  /** Taken off the logits of tokens that were generated, once for each time. Default 0. */
  readonly frequencyPenalty?: number | undefined;
  /** Added to the logits of tokens, by id; -100 as good as forbids one. */
  readonly logitBias?: Readonly<Record<number, number>> | undefined;
  /** How many of the likeliest tokens are named with each choice, with their log-probabilities. Default 0, at most 100. */
  readonly topLogprobs?: number | undefined;
  /** The same seed gives the same tokens, whatever else is being generated. Default: another one each time. */
  readonly seed?: number | undefined;
}

export interface Choice {
  readonly id: number;
  /** Natural logarithm of the probability that the model itself gave the token, before penalty, temperature and cuts. */
  readonly logprob: number;
  /** The likeliest tokens, likeliest first, where they were asked for. */
  readonly top?: readonly { readonly id: number; readonly logprob: number }[];
}

type Scalars = Omit<SamplingOptions, 'logitBias'>;
type Settings = { readonly [K in keyof Scalars]-?: number };

const rules: Readonly<
  Record<keyof Settings, { readonly holds: (value: number) => boolean; readonly expected: string }>
> = {
  temperature: { holds: (value) => value >= 0 && value <= 1000, expected: 'a number from 0 to 1000' },
  topK: {
    holds: (value) => Number.isSafeInteger(value) && value >= 0,
    expected: 'a whole number from 0, which keeps all',
  },
  topP: { holds: (value) => value >= 0 && value <= 1, expected: 'a number from 0 to 1' },
  minP: { holds: (value) => value >= 0 && value <= 1, expected: 'a number from 0 to 1' },
  typicalP: { holds: (value) => value > 0 && value <= 1, expected: 'a number above 0, up to 1' },
  presencePenalty: { holds: (value) => Math.abs(value) <= 100, expected: 'a number from -100 to 100' },
  frequencyPenalty: { holds: (value) => Math.abs(value) <= 100, expected: 'a number from -100 to 100' },
  topLogprobs: {
    holds: (value) => Number.isSafeInteger(value) && value >= 0 && value <= 100,
    expected: 'a whole number from 0 to 100',
  },
  repetitionPenalty: { holds: (value) => value > 0 && value <= 1000, expected: 'a number above 0, up to 1000' },
  seed: { holds: (value) => Number.isSafeInteger(value) && value >= 0, expected: 'a whole number from 0' },
};

function settle(options: SamplingOptions): Settings {
  const settings: Settings = {
    temperature: options.temperature ?? 1,
    topK: options.topK ?? 0,
    topP: options.topP ?? 1,
    minP: options.minP ?? 0,
    typicalP: options.typicalP ?? 1,
    repetitionPenalty: options.repetitionPenalty ?? 1,
    presencePenalty: options.presencePenalty ?? 0,
    frequencyPenalty: options.frequencyPenalty ?? 0,
    topLogprobs: options.topLogprobs ?? 0,
    seed: options.seed ?? freshSeed(),
  };
  for (const [name, { holds, expected }] of Object.entries(rules)) {
    const value: unknown = settings[name as keyof Settings];
    if (typeof value === 'number' && holds(value)) continue;
    throw new LfmError('bad-sampling', `${name}: expected ${expected}; found ${String(value)}.`);
  }
  return settings;
}

/** A seed that nobody chose. */
export function freshSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
}

/** Checked pairs of a token and what to add to its logit. Errors: `bad-sampling`. */
function biasesOf(given: SamplingOptions['logitBias']): readonly (readonly [number, number])[] {
  return Object.entries(given ?? {}).map(([key, value]) => {
    const id = Number(key);
    if (Number.isSafeInteger(id) && id >= 0 && typeof value === 'number' && Number.isFinite(value)) return [id, value];
    throw new LfmError('bad-sampling', `logitBias: expected finite numbers by token id; found ${key}: ${value}.`);
  });
}

/** Chooses tokens for one text, one after another. */
export class Sampler {
  readonly #settings: Settings;
  readonly #biases: readonly (readonly [number, number])[];
  #random: Random;
  readonly #seen: Set<number>;
  /** How often each token was generated. */
  readonly #counts = new Map<number, number>();
  /** Kept between tokens, since a vocabulary's worth of memory is much to make anew. */
  #weights = new Float64Array(0);
  /** Of which tokens the weights are. */
  #ids = new Int32Array(0);

  /**
   * `context`: the tokens already in the text, which the repetition penalty counts. `sequence`: of several texts of one
   * request; each has random numbers of its own. Errors: `bad-sampling`.
   */
  constructor(options: SamplingOptions = {}, context: Iterable<number> = [], sequence = 0) {
    this.#settings = settle(options);
    this.#biases = biasesOf(options.logitBias);
    const { seed } = this.#settings;
    this.#random = new Random(seed, Math.floor(seed / 2 ** 32) ^ (sequence * 2 ** 22));
    this.#seen = new Set(context);
  }

  /** Chooses as this one will, which stays as it is. */
  copy(): Sampler {
    const copy = new Sampler({ ...this.#settings, logitBias: Object.fromEntries(this.#biases) }, this.#seen);
    copy.#random = this.#random.copy();
    for (const [id, count] of this.#counts) copy.#counts.set(id, count);
    return copy;
  }

  /**
   * The next token after a text with these logits, which are changed. It counts as part of the text from now on. `forbid` makes
   * those of tokens that may not follow -Infinity.
   * Errors: `bad-logits` where none of them is finite or one is NaN: a damaged model; those of `forbid`.
   */
  sample(logits: Float32Array, forbid?: (logits: Float32Array) => void): Choice {
    const likely = indexOfMost(logits);
    const total = logSumExp(logits, likely);
    const top = this.#settings.topLogprobs > 0 ? likeliest(logits, this.#settings.topLogprobs, total) : undefined;
    forbid?.(logits);
    const before = this.#penalise(logits);
    const best = forbid || before.size > 0 ? indexOfMost(logits) : likely;
    const id = this.#settings.temperature === 0 ? best : this.#draw(logits, logits[best] ?? 0);
    this.#seen.add(id);
    this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1);
    return { id, logprob: (before.get(id) ?? logits[id] ?? 0) - total, ...(top && { top }) };
  }

  /** Changes the logits that biases and penalties name; answers what stood there before. */
  #penalise(logits: Float32Array): Map<number, number> {
    const { repetitionPenalty, presencePenalty, frequencyPenalty } = this.#settings;
    const before = new Map<number, number>();
    const change = (id: number, to: (logit: number) => number) => {
      const logit = logits[id];
      if (logit === undefined) return;
      if (!before.has(id)) before.set(id, logit);
      logits[id] = to(logit);
    };
    for (const [id, bias] of this.#biases) change(id, (logit) => logit + bias);
    if (repetitionPenalty !== 1)
      for (const id of this.#seen)
        change(id, (logit) => (logit < 0 ? logit * repetitionPenalty : logit / repetitionPenalty));
    if (presencePenalty !== 0 || frequencyPenalty !== 0)
      for (const [id, count] of this.#counts) change(id, (logit) => logit - presencePenalty - count * frequencyPenalty);
    return before;
  }

  #draw(logits: Float32Array, most: number): number {
    const { temperature, topK, topP, minP, typicalP } = this.#settings;
    if (this.#weights.length !== logits.length) {
      this.#weights = new Float64Array(logits.length);
      this.#ids = new Int32Array(logits.length);
    }
    const [all, ids] = [this.#weights, this.#ids];
    const kth = topK > 0 && topK < logits.length ? nthLargest(logits, topK) : -Infinity;
    // Only top-p asks for the weights of what min-p will cut; without it their exponentials are spared. The 0.001 is for rounding.
    const least = topP === 1 ? Math.max(kth, most + temperature * (Math.log(minP) - 0.001)) : kth;
    let total = 0;
    let count = 0;
    for (let id = 0; id < logits.length; id++) {
      const logit = logits[id] as number;
      if (logit < least) continue;
      const weight = power((logit - most) / temperature);
      ids[count] = id;
      all[count++] = weight;
      total += weight;
    }
    const weights = all.subarray(0, count);
    if (topP < 1) keepNucleus(weights, total, topP);
    // The likeliest token's weight is 1, so its share is the weight itself.
    let kept = 0;
    for (let at = 0; at < count; at++) {
      const weight = weights[at] as number;
      if (weight < minP) weights[at] = 0;
      else kept += weight;
    }
    if (typicalP < 1) {
      keepTypical(weights, kept, typicalP);
      kept = weights.reduce((sum, weight) => sum + weight, 0);
    }
    return ids[pick(weights, kept * this.#uniform())] ?? 0;
  }

  /** Uniform in [0, 1) with 53 bits: one of 24 would never choose the rarest of a large vocabulary. */
  #uniform(): number {
    const high = this.#random.bits() >>> 5;
    return (high * 2 ** 26 + (this.#random.bits() >>> 6)) * 2 ** -53;
  }
}

/** The first index at which the running sum passes `target`; the last one that has any weight if rounding falls short. */
function pick(weights: Float64Array, target: number): number {
  let sum = 0;
  let last = 0;
  for (let at = 0; at < weights.length; at++) {
    const weight = weights[at] as number;
    if (weight === 0) continue;
    sum += weight;
    last = at;
    if (sum > target) return at;
  }
  return last;
}

/** The n likeliest tokens, likeliest first, of equals the first; `total` is the logits' `logSumExp`. */
export function likeliest(logits: Float32Array, n: number, total: number): { id: number; logprob: number }[] {
  const least = n < logits.length ? nthLargest(logits, n) : -Infinity;
  const found: { id: number; logprob: number }[] = [];
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id] ?? 0;
    if (logit >= least) found.push({ id, logprob: logit - total });
  }
  return found.sort((a, b) => b.logprob - a.logprob || a.id - b.id).slice(0, n);
}

/** The logarithm of the sum of the logits' exponentials; `best`: where the largest stands. Errors: `bad-logits`. */
export function logSumExp(logits: Float32Array, best = indexOfMost(logits)): number {
  const most = logits[best] ?? -Infinity;
  let sum = 0;
  for (let id = 0; id < logits.length; id++) sum += power((logits[id] as number) - most);
  const total = most + Math.log(sum);
  if (Number.isFinite(total)) return total;
  throw new LfmError(
    'bad-logits',
    `Expected finite scores from the model; their sum is ${total}: its weights are damaged.`,
  );
}
