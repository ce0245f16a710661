// How many steps of a run fit into a time on this machine, and how many see the text so many times.
import type { Recipe } from './recipe.ts';
import { withSteps } from './recipe.ts';

export interface Budget {
  readonly minutes?: number | undefined;
  /** How often each token of the text may be seen. */
  readonly epochs?: number | undefined;
}

/** Of the time, what writing the result and the samples take. */
const FOR_THE_END = 0.08;

/** The recipe with as many steps as see `tokens` of text so often, at most its own. */
export function recipeWithin(recipe: Recipe, tokens: number, epochs = Infinity): Recipe {
  const { size, length, accumulate } = recipe.batch;
  const steps = Math.max(1, Math.ceil((epochs * tokens) / (size * length * accumulate)));
  return steps < recipe.steps ? withSteps(recipe, steps) : recipe;
}

/**
 * Tells on the way how many steps a run can have to end in time. A machine that others use too is slower at times, so the number
 * is told anew whenever it is asked for.
 */
export class Deadline {
  readonly #end: number;
  readonly #begin: number;
  #last: { readonly step: number; readonly at: number };

  /** All in seconds of one clock: the run's beginning, its time, what measuring at the end takes, and the present. */
  constructor(since: number, seconds: number, measuring: number, now: number) {
    this.#end = since + seconds * (1 - FOR_THE_END) - measuring;
    this.#begin = now;
    this.#last = { step: 0, at: now };
  }

  /** After `step` steps. A step is taken to last as long as the mean of all of them and of those since the last call do. */
  steps(step: number, most: number, now: number): number {
    const whole = (now - this.#begin) / step;
    const recent = (now - this.#last.at) / (step - this.#last.step);
    this.#last = { step, at: now };
    const fitting = Math.floor((this.#end - now) / ((whole + recent) / 2));
    return Math.min(most, step + Math.max(0, fitting));
  }
}
