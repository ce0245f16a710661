// The normalizer, pre-tokenizer, decoder and post-processor of a `tokenizer.json`.

import type { JsonObject } from '../files/json.ts';
import { asArray, asBoolean, asId, asObject, asString, field, invalid, unsupported } from './json-fields.ts';
import type { NormalizerStep } from './normalize.ts';
import type { PreTokenizerStep, PrependScheme, SplitBehavior } from './pre-tokenize.ts';

const MAX_STEPS = 16;
const MAX_PATTERN_LENGTH = 4096;
const MAX_TEMPLATE = 16;
const BEHAVIORS: readonly SplitBehavior[] = [
  'Isolated',
  'Removed',
  'MergedWithPrevious',
  'MergedWithNext',
  'Contiguous',
];

const PREPENDS: readonly PrependScheme[] = ['always', 'first', 'never'];
const FORMS = ['NFC', 'NFD', 'NFKC', 'NFKD'] as const;

/** How many times as long a text may become by being normalised: a file must not fill memory. */
const MOST_GROWTH = 64;

/** Errors: `tokenizer-invalid`, `tokenizer-unsupported`. */
export function parseNormalizer(value: unknown): NormalizerStep[] {
  const steps = flatten(value, 'normalizer', 'normalizers').map((step): NormalizerStep => {
    const type = field(step, 'type');
    const form = FORMS.find((each) => each === type);
    if (form) return { type: 'unicode', form };
    const text = (name: string) => asString(field(step, name), `normalizer ${type}.${name}`, MAX_PATTERN_LENGTH);
    if (type === 'Prepend') return { type: 'prepend', text: text('prepend') };
    if (type === 'Replace')
      return { type: 'replace', ...parsePattern(step, 'normalizer Replace'), content: text('content') };
    throw unsupported('a normalizer', type, `Prepend, Replace, ${FORMS.join(', ')} and a Sequence of them`);
  });
  const growth = steps.reduce((product, step) => product * growthOf(step), 1);
  if (growth > MOST_GROWTH) throw unsupported('normalizer', value, 'steps that do not make a text much longer');
  return steps;
}

function growthOf(step: NormalizerStep): number {
  if (step.type === 'unicode') return 4;
  return 1 + (step.type === 'replace' ? step.content : step.text).length;
}

/** What decoding does: a byte-level vocabulary's way, or how SentencePiece's tokens become text. */
export type DecoderKind = 'bytes' | { readonly spaceMark: string; readonly dropsLeadingSpace: boolean };

/** Errors: `tokenizer-invalid`, `tokenizer-unsupported`. */
export function parseDecoder(value: unknown): DecoderKind {
  const steps = flatten(value, 'decoder', 'decoders');
  const types = steps.map((step) => field(step, 'type')).join(', ');
  if (types === 'ByteLevel') return 'bytes';
  const [replace, , , strip] = steps;
  if (!replace || !/^Replace, ByteFallback, Fuse(, Strip)?$/.test(types))
    throw unsupported('decoder', value, 'ByteLevel, or a Sequence of Replace, ByteFallback, Fuse and perhaps Strip');
  const { pattern, literal } = parsePattern(replace, 'decoder Replace');
  const isSpace = literal && Array.from(pattern).length === 1 && field(replace, 'content') === ' ';
  if (!isSpace) throw unsupported('decoder Replace', replace, 'one that puts a space for one character');
  const isPlain = !strip || (field(strip, 'content') === ' ' && field(strip, 'stop') === 0);
  const start = strip ? field(strip, 'start') : 0;
  if (!isPlain || (start !== 0 && start !== 1))
    throw unsupported('decoder Strip', strip, 'one that takes one space from the start');
  return { spaceMark: pattern, dropsLeadingSpace: start === 1 };
}

/** `isOfBytes`: of a byte-level vocabulary. Errors: `tokenizer-invalid`, `tokenizer-unsupported`. */
export function parsePreTokenizer(value: unknown, isOfBytes: boolean): PreTokenizerStep[] {
  const steps = flatten(value, 'pre_tokenizer', 'pretokenizers').map(parseStep);
  const count = (type: PreTokenizerStep['type']) => steps.filter((step) => step.type === type).length;
  if (isOfBytes && (count('bytes') !== 1 || steps.at(-1)?.type !== 'bytes' || count('metaspace') > 0))
    throw unsupported('pre_tokenizer', value, 'a ByteLevel, or a Sequence that ends in one');
  if (!isOfBytes && (count('bytes') > 0 || (count('metaspace') > 0 && steps.length > 1)))
    throw unsupported('pre_tokenizer', value, 'null, a Metaspace, or Split and Digits, for a model with byte_fallback');
  return steps;
}

/** The members of a Sequence, or the one value itself; nothing for null. */
function flatten(value: unknown, where: string, list: string): JsonObject[] {
  if (value === undefined) return [];
  const object = asObject(value, where);
  if (field(object, 'type') !== 'Sequence') return [object];
  return asArray(field(object, list), `${where}.${list}`, MAX_STEPS).map((each, i) =>
    asObject(each, `${where}.${list}[${i}]`),
  );
}

function parseStep(step: JsonObject): PreTokenizerStep {
  const type = field(step, 'type');
  const flag = (name: string, absent?: boolean) =>
    asBoolean(field(step, name), `pre_tokenizer ${type}.${name}`, absent);
  if (type === 'ByteLevel')
    return { type: 'bytes', addPrefixSpace: flag('add_prefix_space'), useRegex: flag('use_regex', true) };
  if (type === 'Digits') return { type: 'digits', individual: flag('individual_digits', false) };
  if (type === 'Metaspace') return parseMetaspace(step, flag('split', true));
  if (type !== 'Split')
    throw unsupported('a pre_tokenizer', type, 'Split, Digits, ByteLevel, Metaspace and a Sequence of them');
  const behavior = BEHAVIORS.find((each) => each === field(step, 'behavior'));
  if (behavior === undefined)
    throw unsupported('pre_tokenizer Split.behavior', field(step, 'behavior'), BEHAVIORS.join(', '));
  return {
    type: 'split',
    ...parsePattern(step, 'pre_tokenizer Split'),
    behavior,
    invert: flag('invert', false),
  };
}

function parseMetaspace(step: JsonObject, splits: boolean): PreTokenizerStep {
  const mark = asString(field(step, 'replacement'), 'pre_tokenizer Metaspace.replacement', 2);
  // Older files say only whether a space is put before a text.
  const older = field(step, 'add_prefix_space') === false ? 'never' : 'always';
  const scheme = field(step, 'prepend_scheme') ?? older;
  const prepends = PREPENDS.find((each) => each === scheme);
  if (prepends === undefined) throw unsupported('pre_tokenizer Metaspace.prepend_scheme', scheme, PREPENDS.join(', '));
  return { type: 'metaspace', mark, prepends, splits };
}

function parsePattern(step: JsonObject, where: string): { pattern: string; literal: boolean } {
  const pattern = asObject(field(step, 'pattern'), `${where}.pattern`);
  const kind = ['Regex', 'String'].find((each) => field(pattern, each) !== undefined);
  if (kind === undefined) throw unsupported(`${where}.pattern`, pattern, 'Regex and String');
  return {
    pattern: asString(field(pattern, kind), `${where}.pattern.${kind}`, MAX_PATTERN_LENGTH),
    literal: kind === 'String',
  };
}

/** The ids put before and after one text. @param known every id of the vocabulary */
export function parsePostProcessor(value: unknown, known: ReadonlySet<number>): { prefix: number[]; suffix: number[] } {
  const out = { prefix: [] as number[], suffix: [] as number[] };
  let templates = 0;
  for (const step of flatten(value, 'post_processor', 'processors')) {
    const type = field(step, 'type');
    // ByteLevel only trims offsets, which are not computed here.
    if (type === 'ByteLevel') continue;
    if (type !== 'TemplateProcessing' || ++templates > 1) {
      throw unsupported('a post_processor', type, 'one TemplateProcessing, ByteLevel and a Sequence of them');
    }
    parseTemplate(step, known, out);
  }
  return out;
}

function parseTemplate(
  step: JsonObject,
  known: ReadonlySet<number>,
  out: { prefix: number[]; suffix: number[] },
): void {
  const where = 'post_processor TemplateProcessing.single';
  const specials = asObject(field(step, 'special_tokens') ?? {}, 'post_processor TemplateProcessing.special_tokens');
  let texts = 0;
  for (const piece of asArray(field(step, 'single'), where, MAX_TEMPLATE)) {
    const special = field(asObject(piece, where), 'SpecialToken');
    if (special === undefined) {
      const sequence = asObject(field(asObject(piece, where), 'Sequence'), `${where} Sequence`);
      if (field(sequence, 'id') !== 'A') throw invalid(where, 'made of special tokens and the sequence A', piece);
      texts++;
      continue;
    }
    const name = asString(field(asObject(special, where), 'id'), `${where} SpecialToken.id`, MAX_PATTERN_LENGTH);
    const token = asObject(field(specials, name), `the special token ${JSON.stringify(name)} of the template`);
    for (const id of asArray(field(token, 'ids'), `the ids of ${JSON.stringify(name)}`, MAX_TEMPLATE)) {
      const checked = asId(id, `an id of ${JSON.stringify(name)}`, Number.MAX_SAFE_INTEGER);
      if (!known.has(checked)) throw invalid(`an id of ${JSON.stringify(name)}`, 'in the vocabulary', id);
      (texts === 0 ? out.prefix : out.suffix).push(checked);
    }
  }
  if (texts !== 1) throw invalid(where, 'a template that holds the text once', field(step, 'single'));
}
