// What a change of a model's weights or arithmetic does to its text: perplexity of both, and how far their next tokens part.
// Shapes: T tokens a run, V classes.
import type { Buffer, Buffers, Engine, Executable } from '../engines/engine.ts';
import type { Model } from '../liquid/index.ts';
import { stepProgram } from '../liquid/index.ts';
import { LfmError } from '../tensor/index.ts';
import { disposeBuffers, emptyState } from './state.ts';

/** A model with its weights on an engine. */
export interface Weighted {
  readonly engine: Engine;
  readonly model: Model;
  readonly weights: Buffers;
}

export interface Comparison {
  /** Tokens that were predicted. */
  readonly tokens: number;
  /** exp of the mean of -ln p(token). */
  readonly perplexity: { readonly before: number; readonly after: number };
  /** Mean over positions of Σ p ln(p / q), p before and q after, in nats. */
  readonly meanKl: number;
  /** Share of positions at which both find the same token likeliest. */
  readonly sameTop: number;
}

export interface CompareOptions {
  /** Tokens that a text may look back on. Default 512. */
  readonly window?: number;
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Tokens of a run: all their logits are held at once. */
const RUN = 32;

/**
 * Compares two models of one vocabulary on a text, cut into windows that know nothing of each other.
 * Errors: `text-too-short`, `vocabulary-mismatch`, the reason of `signal`.
 */
export async function compareModels(
  before: Weighted,
  after: Weighted,
  tokens: readonly number[],
  { window = 512, onProgress, signal }: CompareOptions = {},
): Promise<Comparison> {
  const { classes } = before.model.head;
  if (classes !== after.model.head.classes)
    throw new LfmError(
      'vocabulary-mismatch',
      `Models of ${classes} and ${after.model.head.classes} tokens cannot be compared.`,
    );
  if (tokens.length < 2)
    throw new LfmError(
      'text-too-short',
      `The text has ${tokens.length} tokens; expected 2 or more, so that one is predicted.`,
    );
  const [first, second] = [await openScorer(before, window), await openScorer(after, window)];
  const sums = { nats: [0, 0] as [number, number], kl: 0, same: 0, count: 0 };
  try {
    for (let from = 0; from + 1 < tokens.length; from += window) {
      const ids = tokens.slice(from, from + window + 1);
      await Promise.all([first.restart(), second.restart()]);
      for (let at = 0; at + 1 < ids.length; at += RUN) {
        signal?.throwIfAborted();
        const [inputs, labels] = [ids.slice(at, at + RUN), ids.slice(at + 1, at + 1 + RUN)];
        const [p, q] = [
          await first.logits(inputs.slice(0, labels.length)),
          await second.logits(inputs.slice(0, labels.length)),
        ];
        labels.forEach((label, i) => addPosition(sums, rowOf(p, i, classes), rowOf(q, i, classes), label));
        onProgress?.({ done: sums.count, total: tokens.length - 1 });
      }
    }
  } finally {
    first.close();
    second.close();
  }
  const { nats, kl, same, count } = sums;
  return {
    tokens: count,
    perplexity: { before: Math.exp(nats[0] / count), after: Math.exp(nats[1] / count) },
    meanKl: kl / count,
    sameTop: same / count,
  };
}

function rowOf(logits: Float32Array, row: number, classes: number): Float32Array {
  return logits.subarray(row * classes, (row + 1) * classes);
}

/** Where the largest is, and ln Σ exp of all. */
function summary(logits: Float32Array): { top: number; logTotal: number } {
  let top = 0;
  for (let i = 1; i < logits.length; i++) if ((logits[i] ?? 0) > (logits[top] ?? 0)) top = i;
  const most = logits[top] ?? 0;
  let total = 0;
  for (const value of logits) total += Math.exp(value - most);
  return { top, logTotal: most + Math.log(total) };
}

function addPosition(
  sums: { nats: [number, number]; kl: number; same: number; count: number },
  p: Float32Array,
  q: Float32Array,
  label: number,
): void {
  const [a, b] = [summary(p), summary(q)];
  sums.nats[0] += a.logTotal - (p[label] ?? 0);
  sums.nats[1] += b.logTotal - (q[label] ?? 0);
  for (let i = 0; i < p.length; i++) {
    const logP = (p[i] ?? 0) - a.logTotal;
    sums.kl += Math.exp(logP) * (logP - ((q[i] ?? 0) - b.logTotal));
  }
  sums.same += Number(a.top === b.top);
  sums.count++;
}

interface Scorer {
  /** Forgets what came before. */
  restart(): Promise<void>;
  /** [T, V] after each of up to RUN more tokens. */
  logits(tokens: readonly number[]): Promise<Float32Array>;
  close(): void;
}

async function openScorer({ engine, model, weights }: Weighted, capacity: number): Promise<Scorer> {
  const program = stepProgram(model, { batch: 1, length: RUN, capacity, allLogits: true });
  const executable: Executable = await engine.compile(program, { bind: weights });
  let states: Buffers = {};
  let length = 0;
  return {
    async restart() {
      disposeBuffers(states);
      ({ buffers: states } = await emptyState(engine, model, 1, capacity));
      length = 0;
    },
    async logits(tokens) {
      const padded = new Int32Array(RUN);
      padded.set(tokens);
      const given: Record<string, Buffer> = {};
      try {
        given['tokens'] = await engine.upload('int32', [1, RUN], padded);
        given['starts'] = await engine.upload('int32', [1], Int32Array.of(length));
        given['lengths'] = await engine.upload('int32', [1], Int32Array.of(tokens.length));
        const { logits, ...next } = await executable.run({ ...states, ...given });
        states = next;
        length += tokens.length;
        const values = logits && (await engine.download(logits));
        logits?.dispose();
        if (values instanceof Float32Array) return values;
        throw new LfmError('no-result', 'A step gave no logits.');
      } finally {
        disposeBuffers(given);
      }
    },
    close() {
      executable.release();
      disposeBuffers(states);
    },
  };
}
