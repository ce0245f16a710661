// For tests: a small hybrid model with every kind of state, a scheduler over it, and texts taken down with their numbers.
import type { Engine } from '../engines/engine.ts';
import { attention, defineModel, gatedDelta, initialise, layer, shortConv, swiglu } from '../liquid/index.ts';
import type { Model } from '../liquid/index.ts';
import { Random } from '../tensor/index.ts';
import type { GeneratorOptions } from './generator.ts';
import { Generator } from './generator.ts';
import type { Choice } from './sampler.ts';
import type { GenerateOptions, SchedulerOptions } from './scheduler.ts';
import { Scheduler } from './scheduler.ts';
import type { TokenStream } from './stream.ts';
import { upload } from './testing.node.ts';

const mlp = swiglu({ intermediateSize: 32 });
const conv = layer(shortConv({ kernel: 3 }), mlp);
const attending = layer(attention({ heads: 4, keyValueHeads: 2, headDim: 8 }), mlp);
const sizes = { vocabSize: 64, hiddenSize: 32, initializerRange: 0.2, contextLength: 512 };

/** A convolution's tail, rows that grow, a matrix, a window of rows. */
export const hybrid = defineModel({
  ...sizes,
  layers: [
    conv,
    attending,
    layer(gatedDelta({ keyHeads: 2, keyHeadDim: 8, valueHeadDim: 8 }), mlp),
    layer(attention({ heads: 2, headDim: 8, window: 6 }), mlp),
  ],
});
/** LFM2's two kinds of layers. */
export const plain = defineModel({ ...sizes, layers: [conv, attending] });
/** Rows alone: any beginning can be reused. */
export const attentionOnly = defineModel({ ...sizes, layers: [attending, attending] });

export async function schedulerOf(
  engine: Engine,
  model: Model = hybrid,
  options: SchedulerOptions = {},
  limits: GeneratorOptions = {},
  weights: Readonly<Record<string, Float32Array>> = initialise(model, 7),
): Promise<Scheduler> {
  return new Scheduler(new Generator(engine, model, await upload(engine, model, weights), limits), options);
}

/** Tokens that are not all alike. */
export function tokensOf(seed: number, count: number): number[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => random.bits() % 64);
}

export interface Taken {
  readonly choices: readonly Choice[];
  readonly ids: readonly number[];
  readonly reason: string;
}

export async function take(stream: TokenStream): Promise<Taken> {
  const choices: Choice[] = [];
  for (;;) {
    const { done, value } = await stream.next();
    if (done) return { choices, ids: choices.map(({ id }) => id), reason: value };
    choices.push(value);
  }
}

/** A request as a text of its own: nothing beside it, nothing kept. */
export async function alone(
  engine: Engine,
  prompt: readonly number[],
  options: GenerateOptions,
  model: Model = hybrid,
): Promise<Taken> {
  await using scheduler = await schedulerOf(engine, model, { cacheBytes: 0, maxBatch: 1 });
  return await take(scheduler.generate(prompt, options));
}

/** The largest difference of two texts' log-probabilities; Infinity where their tokens differ. */
export function distance(a: Taken, b: Taken): number {
  if (a.ids.join() !== b.ids.join() || a.reason !== b.reason) return Infinity;
  return Math.max(0, ...a.choices.map(({ logprob }, i) => Math.abs(logprob - (b.choices[i]?.logprob ?? Infinity))));
}
