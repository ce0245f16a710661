// Many prompts answered at once, for accelerators: one prefill and long runs of decoding on the device, no cache, no queue.
// B rows of at most C tokens; a row that has ended goes on unread until all have.
import type { Buffer, Buffers, Engine, Executable } from '../engines/engine.ts';
import type { Model } from '../liquid/index.ts';
import { stateTypes, stepProgram } from '../liquid/index.ts';
import { LfmError } from '../tensor/index.ts';
import { narrowWeights } from './narrowing.ts';
import { rolloutProgram } from './rollout.ts';
import { disposeBuffers } from './state.ts';

export interface BatchOptions {
  /** Rows of a batch, and the tokens that a row holds, prompt and answer. */
  readonly batch: number;
  readonly capacity: number;
  readonly dtype?: 'float32' | 'bfloat16';
  readonly temperature?: number;
  readonly minP?: number;
}

export interface Answer {
  /** Without the token that ended it. */
  readonly tokens: readonly number[];
  /** Whether an end token was written before the limit. */
  readonly ended: boolean;
}

/** Tokens of a run on the device, and what lengths of prompts are rounded to. */
const STEPS = 64;

export class BatchGenerator {
  readonly #engine: Engine;
  readonly #model: Model;
  readonly #weights: Buffers;
  readonly #options: BatchOptions;
  readonly #rollout: Executable;
  readonly #prefills = new Map<number, Executable>();

  private constructor(engine: Engine, model: Model, weights: Buffers, options: BatchOptions, rollout: Executable) {
    this.#engine = engine;
    this.#model = model;
    this.#weights = weights;
    this.#options = options;
    this.#rollout = rollout;
  }

  /** Takes over `weights`, float32 by name. Errors: `bad-temperature`, `bad-min-p`, the engine's. */
  static async open(engine: Engine, model: Model, weights: Buffers, options: BatchOptions): Promise<BatchGenerator> {
    const stored = options.dtype === 'bfloat16' ? await narrowWeights(engine, weights) : weights;
    try {
      const rollout = await engine.compile(rolloutProgram(model, { ...options, steps: STEPS }));
      return new BatchGenerator(engine, model, stored, options, rollout);
    } catch (error) {
      disposeBuffers(stored);
      throw error;
    }
  }

  get batch(): number {
    return this.#options.batch;
  }

  /** Most tokens of a prompt that leaves room for `maxTokens` of answer. */
  longestPrompt(maxTokens: number): number {
    return this.#options.capacity - Math.ceil(maxTokens / STEPS) * STEPS;
  }

  /**
   * An answer for each of at most B prompts; equal seeds give equal answers. `longest`: tokens of the longest prompt of all calls, so that
   * they share a program. Errors: `bad-batch` for more prompts, an empty one
   * or one longer than `longestPrompt`.
   */
  async answer(
    prompts: readonly (readonly number[])[],
    {
      maxTokens,
      seed,
      endTokens,
      longest: expected = 0,
    }: {
      readonly maxTokens: number;
      readonly seed: number;
      readonly endTokens: readonly number[];
      readonly longest?: number;
    },
  ): Promise<Answer[]> {
    const { batch, temperature = 0 } = this.#options;
    const longest = Math.max(expected, ...prompts.map(({ length }) => length));
    const room = this.longestPrompt(maxTokens);
    if (prompts.length === 0 || prompts.length > batch || longest > room || prompts.some(({ length }) => length === 0))
      throw new LfmError(
        'bad-batch',
        `Expected 1 to ${batch} prompts of 1 to ${room} tokens; found ${prompts.length}, the longest of ${longest}.`,
      );
    const ends = new Set(endTokens);
    let carried = await this.#prefill(prompts, longest);
    const rows = prompts.map((): number[] => []);
    const ended = prompts.map(() => false);
    try {
      for (let run = 0; run * STEPS < maxTokens && ended.includes(false); run++) {
        const key = temperature > 0 && (await this.#engine.upload('uint32', [2], Uint32Array.of(seed, run)));
        const { tokens, ...next } = await this.#rollout.run({ ...this.#weights, ...carried, ...(key && { key }) });
        carried = next;
        if (key) key.dispose();
        if (!tokens) break;
        const drawn = await this.#engine.download(tokens);
        tokens.dispose();
        rows.forEach((row, b) => {
          for (let at = 0; at < STEPS && !ended[b] && row.length < maxTokens; at++) {
            const token = Number(drawn[b * STEPS + at]);
            if (ends.has(token)) ended[b] = true;
            else row.push(token);
          }
        });
      }
    } finally {
      disposeBuffers(carried);
    }
    return rows.map((tokens, b) => ({ tokens, ended: ended[b] ?? false }));
  }

  /** The state after all tokens of each prompt but its last, which decoding begins with. */
  async #prefill(prompts: readonly (readonly number[])[], longest: number): Promise<Record<string, Buffer>> {
    const { batch } = this.#options;
    const [engine, model] = [this.#engine, this.#model];
    const length = Math.max(STEPS, Math.ceil((longest - 1) / STEPS) * STEPS);
    const padded = new Int32Array(batch * length);
    const [starts, lengths, last] = [new Int32Array(batch), new Int32Array(batch), new Int32Array(batch)];
    prompts.forEach((prompt, b) => {
      padded.set(prompt.slice(0, -1), b * length);
      lengths[b] = prompt.length - 1;
      last[b] = prompt.at(-1) ?? 0;
    });
    let program = this.#prefills.get(length);
    if (!program) {
      program = await engine.compile(stepProgram(model, { ...this.#options, length }));
      this.#prefills.set(length, program);
    }
    const states: Record<string, Buffer> = {};
    for (const [name, type] of Object.entries(stateTypes(model, this.#options)))
      states[`state.${name}`] = await engine.zeros(type.dtype, type.shape.map(Number));
    const given = {
      tokens: await engine.upload('int32', [batch, length], padded),
      starts: await engine.upload('int32', [batch], starts),
      lengths: await engine.upload('int32', [batch], lengths),
    };
    const { logits, ...next } = await program.run({ ...this.#weights, ...states, ...given });
    logits?.dispose();
    disposeBuffers(given);
    return {
      ...next,
      token: await engine.upload('int32', [batch], last),
      starts: await engine.upload('int32', [batch], lengths),
    };
  }

  dispose(): void {
    disposeBuffers(this.#weights);
    this.#rollout.release();
    for (const program of this.#prefills.values()) program.release();
  }
}
