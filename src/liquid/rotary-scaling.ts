// Rotary positions stretched over longer contexts than a model was first trained on: its wavelengths, pair by pair.
import { LfmError } from '../tensor/error.ts';

/** transformers' names, in camelCase. */
export type RotaryScaling =
  /** All wavelengths times `factor` (Chen et al. 2023, arXiv 2306.15595). */
  | { readonly type: 'linear'; readonly factor: number }
  /** Llama 3.1: long wavelengths times `factor`, short ones as they are, a smooth passage between. */
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositionEmbeddings: number;
    }
  /** LongRoPE (Ding et al. 2024, arXiv 2402.13753): factors a pair, others where a text may be longer than the original context. */
  | {
      readonly type: 'longrope';
      readonly shortFactor: readonly number[];
      readonly longFactor: readonly number[];
      /** Multiplies cosines and sines. */
      readonly attentionFactor: number;
      readonly originalMaxPositionEmbeddings: number;
    };

export interface RotaryOptions {
  /** Features that are turned, in pairs. */
  readonly width: number;
  readonly theta: number;
  /** Pairs that turn; the others' angle is 0. Default: all. */
  readonly pairs?: number;
  readonly scaling?: RotaryScaling | undefined;
}

/**
 * Angles a position, one for each pair. `reach`: how long the text may get where the tables serve (the room of its state, or its
 * length), which decides between the factors of `longrope`. Keys that were turned before a state outgrew the original context
 * stay as they are.
 * Errors: `bad-rotary` where a list of factors is not one a pair.
 */
export function rotaryFrequencies(
  { width, theta, pairs = width / 2, scaling }: RotaryOptions,
  reach: number,
): number[] {
  const plain = Array.from({ length: width / 2 }, (_, i) => (i < pairs ? theta ** ((-2 * i) / width) : 0));
  if (!scaling) return plain;
  switch (scaling.type) {
    case 'linear':
      return plain.map((frequency) => frequency / scaling.factor);
    case 'llama3':
      return plain.map((frequency) => {
        // How often it turns over the original context.
        const turns = (scaling.originalMaxPositionEmbeddings * frequency) / (2 * Math.PI);
        const { lowFreqFactor: low, highFreqFactor: high, factor } = scaling;
        const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
        return ((1 - kept) * frequency) / factor + kept * frequency;
      });
    case 'longrope': {
      const factors = reach > scaling.originalMaxPositionEmbeddings ? scaling.longFactor : scaling.shortFactor;
      if (factors.length === plain.length) return plain.map((frequency, i) => frequency / (factors[i] ?? 1));
      throw new LfmError(
        'bad-rotary',
        `attention: longrope has ${factors.length} factors; expected ${plain.length}, one for each pair of features that turns.`,
      );
    }
  }
}

/** What cosines and sines are multiplied by. */
export function rotaryScale(scaling: RotaryScaling | undefined): number {
  return scaling?.type === 'longrope' ? scaling.attentionFactor : 1;
}
