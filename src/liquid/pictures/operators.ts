// What pictures need to know of a model: its operators in order of appearance.
import { operatorsOf } from '../layer.ts';
import type { Model } from '../model.ts';
import { nameOf } from '../operator.ts';

export function operatorNames({ layers }: Model): string[] {
  return [...new Set(layers.flatMap((layer) => operatorsOf(layer).map(nameOf)))];
}
