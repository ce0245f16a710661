// The plan of a recipe before there is text, a vocabulary or an engine: for lfm train --plan.
import type { Model } from '../liquid/index.ts';
import type { PlannedDevice, PlanReport } from './plan-report.ts';
import { reportPlan, requestOf } from './plan-report.ts';
import type { Recipe } from './recipe.ts';
import { isFolderModel, modelOf } from './recipe-model.ts';
import { openStart } from './start.node.ts';

/** Errors: those of openStart and of planTraining. */
export async function planRecipe(recipe: Recipe, device: PlannedDevice): Promise<PlanReport> {
  return reportPlan(requestOf(recipe, await modelToPlan(recipe), recipe.engine.mesh), recipe.steps, device);
}

async function modelToPlan(recipe: Recipe): Promise<Model> {
  await using start = await openStart(recipe);
  const { model: spec, tokenizer, batch } = recipe;
  if (start.vocabulary) return start.model(start.vocabulary);
  if (isFolderModel(spec)) throw new Error('a folder has its vocabulary');
  // Ids stand in for what only the tokenizer will know: they change no size.
  const ids = { pad: null, endOfText: 0 };
  return modelOf(spec, { vocabSize: tokenizer.train?.vocabSize ?? 1, ids, length: batch.length });
}
