// Architectures by the model_type of their config.json: a folder names one, and never brings code of its own.
import type { Model, OperatorConstructor } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { Shapes } from './lfm2.ts';
import { fromHuggingFace, lfm2 } from './lfm2.ts';
import { liquid } from './liquid.ts';

type Read = (json: unknown, shapes: Shapes, operators: readonly OperatorConstructor[]) => Model;

const architectures = new Map<unknown, Read>([
  ['lfm2', (json, shapes) => lfm2(fromHuggingFace(json, shapes))],
  ['liquid', (json, _, operators) => liquid(json, operators)],
]);

/**
 * The model that a config.json describes; `shapes` are its checkpoint's, where there is one,
 * `operators` those that the library does not have.
 * Errors: `unknown-model-type` with the known ones, `unknown-operator`, `bad-config` naming the key.
 */
export function modelFromConfig(
  json: unknown,
  shapes: Shapes = {},
  operators: readonly OperatorConstructor[] = [],
): Model {
  const type = typeof json === 'object' && json !== null && 'model_type' in json ? json.model_type : undefined;
  const read = architectures.get(type);
  if (!read) {
    const known = [...architectures.keys()].join(', ');
    throw new LfmError(
      'unknown-model-type',
      `config.json: expected a model_type among ${known}; found ${JSON.stringify(type) ?? 'none'}.`,
    );
  }
  return read(json, shapes, operators);
}

export { fromHuggingFace, lfm2, toHuggingFace } from './lfm2.ts';
export type { Lfm2Config, Shapes } from './lfm2.ts';
export { liquid, toLiquid } from './liquid.ts';
