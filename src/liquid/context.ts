// What operators may know of a call besides their input: where in its document each token stands.
import type { Dim, Tensor } from '../tensor/index.ts';
import { add, broadcastTo, expandDims, iota, LfmError, rotaryTablesOf } from '../tensor/index.ts';
import { currentTracer } from '../tensor/tracer.ts';
import type { RotaryScaling } from './rotary-scaling.ts';
import { rotaryFrequencies, rotaryScale } from './rotary-scaling.ts';

/** B rows of T tokens. */
export interface Context {
  /** [B, T] int32: how many tokens of its row came before each one. */
  readonly positions: Tensor;
  /** [B] int32: tokens that the state of each row already holds. */
  readonly starts: Tensor | undefined;
  /** [B] int32: how many of the T tokens of each row are valid, from the front. Given, as `starts` is, where state is in use. */
  readonly lengths: Tensor | undefined;
  /** [B, T] int32: tokens of different numbers belong to different documents and do not see each other. */
  readonly segments: Tensor | undefined;
  /**
   * [B, T] float32: time from the token before to each one, in units of the data's own; undefined where they are evenly
   * spaced. The encoder's input `time_steps`.
   */
  readonly timeSteps: Tensor | undefined;
  /** [B, T, D]: what the encoder made of the inputs, for operators that read it at depth (Zamba 2's shared block). */
  readonly embeddings?: Tensor;
  /** [B, T]: 0 for tokens that do not count, as padding; undefined where nobody asks what operators observe. */
  readonly counted: Tensor | undefined;
  readonly normEps: number;
  /**
   * Cosines and sines [B, T, width / 2] for `rotary`, of which `pairs` turn; made once for each set of arguments.
   * Errors: `bad-rotary`; `unbound-symbol` where the scaling goes by a length that is a symbol.
   */
  readonly rotaryTables: (
    width: number,
    theta: number,
    pairs?: number,
    scaling?: RotaryScaling,
  ) => { readonly cos: Tensor; readonly sin: Tensor };
}

export interface ContextOptions {
  readonly batch: Dim;
  readonly length: Dim;
  readonly normEps: number;
  /** Where state is in use: how far it reaches, how many tokens of each row come to it, and how many it may hold. */
  readonly span?: { readonly starts: Tensor; readonly lengths: Tensor; readonly capacity?: Dim };
  readonly segments?: Tensor | undefined;
  readonly timeSteps?: Tensor | undefined;
  readonly counted?: Tensor | undefined;
}

export function createContext({ batch, length, normEps, span, segments, timeSteps, counted }: ContextOptions): Context {
  const steps = iota('int32', [1, length], 1);
  const positions = span ? add(expandDims(span.starts, 1), steps) : broadcastTo(steps, [batch, length]);
  const tables = new Map<string, { cos: Tensor; sin: Tensor }>();
  // Made in the graph that the call began in, so that a table first wanted inside a checkpoint serves the others too.
  const home = currentTracer();
  return {
    positions,
    starts: span?.starts,
    lengths: span?.lengths,
    segments,
    timeSteps,
    counted,
    normEps,
    rotaryTables: (width, theta, pairs = width / 2, scaling) => {
      const key = JSON.stringify([width, theta, pairs, scaling]);
      const known = tables.get(key);
      if (known) return known;
      const reach = span?.capacity ?? length;
      if (scaling?.type === 'longrope' && typeof reach !== 'number')
        throw new LfmError('unbound-symbol', `Positions scaled by longrope need a known length; found ${reach}.`);
      const frequencies = rotaryFrequencies({ width, theta, pairs, scaling }, Number(reach));
      const made = home.run(() => rotaryTablesOf(positions, frequencies, 'float32', rotaryScale(scaling)));
      tables.set(key, made);
      return made;
    },
  };
}
