// Changes text before it is cut into words, as the `normalizer` of a tokenizer.json says. Byte-level BPE mostly has none.

import { compilePattern } from './pattern.ts';

/** One step; each takes the text of the step before. */
export type NormalizerStep =
  /** Puts a text before every stretch that is not empty. */
  | { type: 'prepend'; text: string }
  | { type: 'replace'; pattern: string; literal: boolean; content: string }
  | { type: 'unicode'; form: 'NFC' | 'NFD' | 'NFKC' | 'NFKD' };

/** One function of all steps; undefined where there is none. Errors: `pattern-unsupported`. */
export function compileNormalizer(steps: readonly NormalizerStep[]): ((text: string) => string) | undefined {
  if (steps.length === 0) return undefined;
  const stages = steps.map(compileStep);
  return (text) => stages.reduce((each, stage) => stage(each), text);
}

function compileStep(step: NormalizerStep): (text: string) => string {
  if (step.type === 'prepend') return (text) => (text === '' ? '' : step.text + text);
  if (step.type === 'unicode') return (text) => text.normalize(step.form);
  const { pattern, literal, content } = step;
  if (literal) return (text) => text.replaceAll(pattern, () => content);
  const compiled = compilePattern(pattern);
  return (text) => text.replace(compiled, () => content);
}
