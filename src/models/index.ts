// Architectures by the model_type of their config.json: a folder names one, and never brings code of its own.
import type { Model } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { Shapes } from './lfm2.ts';
import { fromHuggingFace, lfm2 } from './lfm2.ts';

const architectures = new Map<unknown, (json: unknown, shapes: Shapes) => Model>([
  ['lfm2', (json, shapes) => lfm2(fromHuggingFace(json, shapes))],
]);

/**
 * The model that a config.json describes; `shapes` are its checkpoint's, where there is one.
 * Errors: `unknown-model-type` with the known ones, `bad-config` naming the key.
 */
export function modelFromConfig(json: unknown, shapes: Shapes = {}): Model {
  const type = typeof json === 'object' && json !== null && 'model_type' in json ? json.model_type : undefined;
  const read = architectures.get(type);
  if (!read) {
    const known = [...architectures.keys()].join(', ');
    throw new LfmError(
      'unknown-model-type',
      `config.json: expected a model_type among ${known}; found ${JSON.stringify(type) ?? 'none'}.`,
    );
  }
  return read(json, shapes);
}

export { fromHuggingFace, lfm2, toHuggingFace } from './lfm2.ts';
export type { Lfm2Config, Shapes } from './lfm2.ts';
