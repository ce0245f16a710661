// The plan of a recipe before there is text, a vocabulary or an engine: for lfm train --plan.
import type { Model } from '../liquid/index.ts';
import type { PlannedDevice, PlanReport } from './plan-report.ts';
import { reportPlan, requestOf } from './plan-report.ts';
import type { Recipe } from './recipe.ts';
import { isStoredModel, modelOf } from './recipe-model.ts';
import { openStart } from './start.node.ts';
import { openObjective } from './stored.node.ts';

/** Errors: those of openStart, openObjective and planTraining. */
export async function planRecipe(recipe: Recipe, device: PlannedDevice): Promise<PlanReport> {
  await using start = await openStart(recipe);
  const { vocabulary } = start;
  const model = vocabulary ? start.model(vocabulary) : unnamedModel(recipe);
  await using taught = vocabulary && (await openObjective(recipe, model, vocabulary));
  const { objective, teacher } = taught ?? {};
  const request = requestOf(recipe, model, recipe.engine.mesh, { objective, teacher: teacher?.model });
  return reportPlan(request, recipe.steps, device);
}

/** Ids stand in for what only the tokenizer will know: they change no size. */
function unnamedModel({ model: spec, tokenizer, batch }: Recipe): Model {
  if (isStoredModel(spec)) throw new Error('a stored model has its vocabulary');
  const ids = { pad: null, endOfText: 0 };
  return modelOf(spec, { vocabSize: tokenizer.train?.vocabSize ?? 1, ids, length: batch.length });
}
