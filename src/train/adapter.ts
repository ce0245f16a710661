// The adapter of a recipe: which matrices of a stored model it changes.
import type { Model } from '../liquid/index.ts';
import { withLowRank } from '../liquid/index.ts';
import type { ParameterReader } from '../models/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { Recipe } from './recipe.ts';

/**
 * The model with a low-rank change of each matrix that `targets` names or, without, of all but the vocabulary's tables. A
 * matrix must be a tensor of its own in the checkpoint: that is what peft can name.
 * Errors: `no-adaptable-weights`, where there is none or a target names none.
 */
export function adaptedModel(
  model: Model,
  parameters: Pick<ParameterReader, 'rowsIn'>,
  { rank, alpha = 2 * rank, targets }: NonNullable<Recipe['adapter']>,
  name: string,
): Model {
  const modules = new Map<string, string>();
  for (const [parameter, { shape, axes }] of Object.entries(model.parameters)) {
    const [rows, columns = 0, ...more] = shape;
    const place = parameters.rowsIn(parameter);
    if (columns === 0 || more.length > 0 || axes.includes('vocabulary')) continue;
    if (place?.tensor.endsWith('.weight') && place.rows === rows)
      modules.set(parameter, place.tensor.slice(0, -'.weight'.length));
  }
  const names = (target: string) => (module: string) => module === target || module.endsWith(`.${target}`);
  const known = [...new Set([...modules.values()].map((module) => module.split('.').at(-1)))].join(', ');
  const missing = targets?.find((target) => ![...modules.values()].some(names(target)));
  if (modules.size === 0 || missing !== undefined)
    throw new LfmError(
      'no-adaptable-weights',
      missing === undefined || modules.size === 0
        ? `${name} has no matrix that LoRA could change: expected weights that are tensors of their own; train all of it with a recipe and "lfm train".`
        : `adapter.targets: ${name} has no matrix ${JSON.stringify(missing)} that LoRA could change; it has ${known}.`,
    );
  const chosen = [...modules].filter(([, module]) => targets?.some((target) => names(target)(module)) ?? true);
  return withLowRank(
    model,
    Object.fromEntries(chosen.map(([parameter]) => [parameter, { rank, scale: alpha / rank }])),
  );
}
