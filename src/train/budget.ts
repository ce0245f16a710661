// How many steps of a run fit into a time on this machine, and how many see the text so many times.
import type { TokenReader } from '../data/packed.ts';
import type { Recipe } from './recipe.ts';
import { withSteps } from './recipe.ts';
import type { SessionOptions } from './session.ts';
import { createSession } from './session.ts';

export interface Budget {
  readonly minutes?: number | undefined;
  /** How often each token of the text may be seen. */
  readonly epochs?: number | undefined;
}

const nothing: TokenReader = { length: 0, read: async () => {} };

/** Of the time, what is for steps: measuring, checkpoints and samples take the rest. */
const FOR_STEPS = 0.85;
/** The first of them may still prepare something. */
const TRIED_STEPS = 3;

/**
 * The recipe with as many steps as the budget allows, at most its own. Where time counts, the first steps of another run of the
 * same tell how long one takes: the number is decided once, so that the run can be gone on with as it was. Errors: those of a session, the signal's reason.
 */
export async function recipeWithin(
  recipe: Recipe,
  { minutes = Infinity, epochs = Infinity }: Budget,
  options: Omit<SessionOptions, 'settings'>,
  signal?: AbortSignal,
): Promise<Recipe> {
  const { size, length, accumulate } = recipe.batch;
  const tokens = options.sources.reduce((sum, { train }) => sum + train.length, 0);
  let steps = Math.min(recipe.steps, Math.max(1, Math.ceil((epochs * tokens) / (size * length * accumulate))));
  if (minutes < Infinity && steps > TRIED_STEPS) {
    const settings = { ...withSteps(recipe, TRIED_STEPS), heldOut: { share: 0, everySteps: 1, maxTokens: 1 } };
    const sources = options.sources.map((source) => ({ ...source, heldOut: nothing }));
    const session = await createSession({ ...options, settings, sources });
    const times: number[] = [];
    try {
      await session.run({ signal, onStep: ({ seconds }) => times.push(seconds) });
      signal?.throwIfAborted();
    } finally {
      session.dispose();
    }
    const fitting = Math.floor((60 * minutes * FOR_STEPS) / Math.min(...times.slice(1)));
    steps = Math.max(1, Math.min(steps, fitting));
  }
  return steps === recipe.steps ? recipe : withSteps(recipe, steps);
}
