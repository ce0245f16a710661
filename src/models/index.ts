// Architectures by the model_type of their config.json: a folder names one, and never brings code of its own.
import type { Model, OperatorConstructor } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { Shapes } from './lfm2.ts';
import { fromHuggingFace, lfm2 } from './lfm2.ts';
import { liquid } from './liquid.ts';
import { llama, llamaFromHuggingFace, llamaName } from './llama.ts';

interface Architecture {
  readonly model: (json: unknown, shapes: Shapes, operators: readonly OperatorConstructor[]) => Model;
  /** From a parameter's name to what checkpoints call it; absent where they are one. */
  readonly checkpointName?: (parameter: string) => string;
}

const architectures = new Map<unknown, Architecture>([
  ['lfm2', { model: (json, shapes) => lfm2(fromHuggingFace(json, shapes)) }],
  ['liquid', { model: (json, _, operators) => liquid(json, operators) }],
  ['llama', { model: (json) => llama(llamaFromHuggingFace(json)), checkpointName: llamaName }],
]);

function architectureOf(json: unknown): Architecture {
  const type = typeof json === 'object' && json !== null && 'model_type' in json ? json.model_type : undefined;
  const found = architectures.get(type);
  if (found) return found;
  const known = [...architectures.keys()].join(', ');
  throw new LfmError(
    'unknown-model-type',
    `config.json: expected a model_type among ${known}; found ${JSON.stringify(type) ?? 'none'}.`,
  );
}

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
  return architectureOf(json).model(json, shapes, operators);
}

/** What the checkpoints of such a model call each of its parameters. Errors: `unknown-model-type`. */
export function checkpointNames(json: unknown): (parameter: string) => string {
  return architectureOf(json).checkpointName ?? ((parameter) => parameter);
}

export { openedGguf, pair, unpair } from './gguf.ts';
export { toGguf } from './gguf-export.ts';
export type { GgufExport } from './gguf-export.ts';
export type { GgufTensorSource } from './gguf.ts';
export { fromHuggingFace, lfm2, toHuggingFace } from './lfm2.ts';
export type { Lfm2Config, Shapes } from './lfm2.ts';
export { liquid, toLiquid } from './liquid.ts';
