// A training run for a command: told as it goes, under Ctrl-C, and what to type next.
import type { Recipe } from '../train/recipe.ts';
import type { RunRecipeOptions, RunResult } from '../train/run.node.ts';
import { runRecipe } from '../train/run.node.ts';
import type { Io } from './io.node.ts';
import { Interrupted, interruptible } from './io.node.ts';
import { program, quote } from './shell.node.ts';
import { JsonTeller, TextTeller } from './train-report.node.ts';

export interface ShownRun extends Omit<RunRecipeOptions, 'signal' | 'onEvent'> {
  readonly resumeCommand: NonNullable<RunRecipeOptions['resumeCommand']>;
  readonly json?: boolean | undefined;
  /** Without the recipe and its plan. */
  readonly isBrief?: boolean;
}

/** Errors: those of `runRecipe`; `Interrupted`. */
export async function runShown(io: Io, recipe: Recipe, { json, isBrief, ...options }: ShownRun): Promise<void> {
  const teller = json ? new JsonTeller(io.stdout) : new TextTeller(io.stdout, isBrief);
  const result = await interruptible(io, async (signal) => {
    signal.addEventListener('abort', () =>
      teller.tell({ kind: 'notice', text: 'stopping after this step, with a checkpoint; Ctrl-C again stops at once' }),
    );
    try {
      return await runRecipe(recipe, { ...options, signal, onEvent: (event) => teller.tell(event) });
    } finally {
      teller.clear();
    }
  });
  teller.end(result, nextCommand(recipe, result, options.resumeCommand));
  if (result.stopped) throw new Interrupted('interrupted');
}

/** What to type next: to hear the model, or to go on. */
function nextCommand(
  { adapter, model, data, sample }: Recipe,
  { final }: RunResult,
  resumeCommand: ShownRun['resumeCommand'],
): string {
  if (final === undefined) return resumeCommand();
  const prompt = `"${sample.prompt.replaceAll(/["\\$`]/g, '\\$&')}"`;
  if (!adapter || !('from' in model)) return `${program()} generate ${quote(final)} ${prompt}`;
  const verb = data.sources.every(({ kind }) => kind === 'chat') ? 'chat' : 'generate';
  return `${program()} ${verb} ${quote(String(model.from))} --adapter ${quote(final)} ${prompt}`;
}
