// Cuts text into the words within which BPE merges. The steps are those of `tokenizer.json`.

import { compileLiteral, compilePattern } from './pattern.ts';
import { isWordBoundary, LFM2_PATTERN, scanWords } from './scan.ts';

/** What becomes of the text a pattern matches: a piece by itself, dropped, joined to a neighbour or to its like. */
export type SplitBehavior = 'Isolated' | 'Removed' | 'MergedWithPrevious' | 'MergedWithNext' | 'Contiguous';

/** One step; each cuts the pieces of the step before. */
export type PreTokenizerStep =
  | { type: 'split'; pattern: string; literal: boolean; behavior: SplitBehavior; invert: boolean }
  | { type: 'digits'; individual: boolean }
  | { type: 'bytes'; addPrefixSpace: boolean; useRegex: boolean }
  | { type: 'metaspace'; mark: string; prepends: PrependScheme; splits: boolean };

/** Whether a mark is put before every stretch of text, before the first one where the text begins with it, or never. */
export type PrependScheme = 'always' | 'first' | 'never';

type Visit = (word: string) => void;
type Stage = (text: string, visit: Visit, isFirst: boolean) => void;

export interface PreTokenizer {
  /** Calls `visit` with every word of a well-formed, non-empty stretch of text, in order. `isFirst`: the text begins here. */
  split(text: string, visit: Visit, isFirst: boolean): void;
  /** Whether UTF-8 may be cut before a byte without changing any word; absent when that cannot be told. */
  isWordBoundary?: (bytes: Uint8Array, at: number) => boolean;
}

/** How LFM2 and Llama 3 split. */
export const LFM2_STEPS: readonly PreTokenizerStep[] = [
  { type: 'split', pattern: LFM2_PATTERN, literal: false, behavior: 'Isolated', invert: false },
  { type: 'bytes', addPrefixSpace: false, useRegex: false },
];

const GPT2_PATTERN = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** Makes a pre-tokenizer of its steps. Errors: `pattern-unsupported` (see `compilePattern`). */
export function compilePreTokenizer(steps: readonly PreTokenizerStep[]): PreTokenizer {
  const stages = steps.map(compileStep);
  const split = (text: string, visit: Visit, isFirst: boolean) => {
    const run = (piece: string, stage: number): void => {
      const next = stages[stage];
      if (next) next(piece, stage === stages.length - 1 ? visit : (part) => run(part, stage + 1), isFirst);
      else visit(piece);
    };
    run(text, 0);
  };
  const [first, second] = steps;
  const isPlain = second?.type === 'bytes' && !second.addPrefixSpace && !second.useRegex && steps.length === 2;
  return first && isScanned(first) && isPlain ? { split: scanWords, isWordBoundary } : { split };
}

function isScanned(step: PreTokenizerStep): boolean {
  if (step.type !== 'split' || step.literal || step.invert) return false;
  return step.pattern === LFM2_PATTERN && step.behavior === 'Isolated';
}

function compileStep(step: PreTokenizerStep): Stage {
  if (isScanned(step)) return scanWords;
  if (step.type === 'digits') return splitBy(/\p{N}/gu, step.individual ? 'Isolated' : 'Contiguous', false);
  if (step.type === 'split') {
    const pattern = step.literal ? compileLiteral(step.pattern) : compilePattern(step.pattern);
    return splitBy(pattern, step.behavior, step.invert);
  }
  if (step.type === 'metaspace') return markSpaces(step);
  const { addPrefixSpace, useRegex } = step;
  const words = useRegex ? splitBy(compilePattern(GPT2_PATTERN), 'Isolated', false) : undefined;
  return (text, visit) => {
    const prefixed = addPrefixSpace && !text.startsWith(' ') ? ` ${text}` : text;
    if (words) words(prefixed, visit);
    else visit(prefixed);
  };
}

/** SentencePiece's way: spaces become marks, with which words begin. */
function markSpaces({ mark, prepends, splits }: PreTokenizerStep & { type: 'metaspace' }): Stage {
  const words = splits ? splitBy(compileLiteral(mark), 'MergedWithNext', false) : undefined;
  return (text, visit, isFirst) => {
    const marked = text.replaceAll(' ', mark);
    const isLed = prepends !== 'never' && (prepends === 'always' || isFirst) && !marked.startsWith(mark);
    const led = isLed ? mark + marked : marked;
    if (words) words(led, visit);
    else visit(led);
  };
}

/** Cuts a text at the matches of a pattern (flags `gu`); what lies between matches is kept, whatever the behaviour. */
function splitBy(pattern: RegExp, behavior: SplitBehavior, invert: boolean): (text: string, visit: Visit) => void {
  return (text, visit) => {
    let start = 0;
    let end = 0;
    let wasMatch = false;
    const flush = () => {
      if (end > start && !(behavior === 'Removed' && wasMatch)) visit(text.slice(start, end));
      start = end;
    };
    const take = (to: number, isMatch: boolean) => {
      if (!isJoined(behavior, wasMatch, isMatch)) flush();
      end = to;
      wasMatch = isMatch;
    };
    for (const { 0: found, index } of text.matchAll(pattern)) {
      if (index > end) take(index, invert);
      take(index + found.length, !invert);
    }
    if (text.length > end) take(text.length, invert);
    flush();
  };
}

/** Whether a stretch joins the stretch before it. Of several matches in a row only one joins its neighbour. */
function isJoined(behavior: SplitBehavior, wasMatch: boolean, isMatch: boolean): boolean {
  if (behavior === 'Contiguous') return wasMatch === isMatch;
  if (behavior === 'MergedWithPrevious') return isMatch && !wasMatch;
  return behavior === 'MergedWithNext' && wasMatch && !isMatch;
}
