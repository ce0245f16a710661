// Writes a tokenizer as a Hugging Face `tokenizer.json` that the `tokenizers` library loads and encodes the same with.

import type { AddedToken } from './added-tokens.ts';
import { fromUtf8, toByteChars } from './bytes.ts';
import type { NormalizerStep } from './normalize.ts';
import type { PreTokenizerStep } from './pre-tokenize.ts';
import type { CharacterUnits, Tokenizer } from './tokenizer.ts';

/** The text of the file; `parseTokenizerJson` makes an equal tokenizer of it. */
export function formatTokenizerJson({ definition }: Tokenizer): string {
  const { tokens, merges, addedTokens, normalizer = [], preTokenizer, prefix, suffix, ignoreMerges } = definition;
  const spell = definition.characters ? fromUtf8 : toByteChars;
  const spellings = new Map<number, string>();
  for (const [id, token] of tokens.entries()) if (token !== undefined) spellings.set(id, spell(token));
  for (const token of addedTokens) spellings.set(token.id, token.content);
  const pairs = Array.from({ length: merges.length / 3 }, (_, rank) =>
    [merges[rank * 3] ?? 0, merges[rank * 3 + 1] ?? 0].map((id) => spellings.get(id)),
  );
  const model = {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: definition.characters !== undefined,
    ignore_merges: ignoreMerges,
  };
  const fields = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens.toSorted((a, b) => a.id - b.id).map(formatAddedToken),
    normalizer: normalizer.length > 0 ? { type: 'Sequence', normalizers: normalizer.map(formatNormalizer) } : null,
    pre_tokenizer: preTokenizer.length > 0 ? { type: 'Sequence', pretokenizers: preTokenizer.map(formatStep) } : null,
    post_processor: formatTemplate(prefix, suffix, spellings),
    decoder: formatDecoder(definition.characters),
  };
  // By hand: an object would lose a token "__proto__", and would put tokens that look like numbers first.
  const vocab = [...spellings].toSorted(([a], [b]) => a - b).map(([id, token]) => `${JSON.stringify(token)}:${id}`);
  const head = JSON.stringify(fields).slice(0, -1);
  const modelHead = JSON.stringify(model).slice(0, -1);
  return `${head},"model":${modelHead},"vocab":{${vocab.join(',')}},"merges":${JSON.stringify(pairs)}}}\n`;
}

function formatAddedToken({ id, content, special, normalized, ...takes }: AddedToken): object {
  const { takesSpaceBefore: lstrip = false, takesSpaceAfter: rstrip = false } = takes;
  return { id, content, single_word: false, lstrip, rstrip, normalized, special };
}

function formatDecoder(characters: CharacterUnits | undefined): object {
  if (!characters) return { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const { spaceMark, dropsLeadingSpace } = characters;
  const steps: object[] = [
    { type: 'Replace', pattern: { String: spaceMark }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
  ];
  if (dropsLeadingSpace) steps.push({ type: 'Strip', content: ' ', start: 1, stop: 0 });
  return { type: 'Sequence', decoders: steps };
}

function formatNormalizer(step: NormalizerStep): object {
  if (step.type === 'unicode') return { type: step.form };
  if (step.type === 'prepend') return { type: 'Prepend', prepend: step.text };
  return { type: 'Replace', pattern: formatPattern(step), content: step.content };
}

function formatPattern({ pattern, literal }: { pattern: string; literal: boolean }): object {
  return literal ? { String: pattern } : { Regex: pattern };
}

function formatStep(step: PreTokenizerStep): object {
  if (step.type === 'digits') return { type: 'Digits', individual_digits: step.individual };
  if (step.type === 'bytes') {
    const { addPrefixSpace, useRegex } = step;
    return { type: 'ByteLevel', add_prefix_space: addPrefixSpace, trim_offsets: true, use_regex: useRegex };
  }
  if (step.type === 'metaspace') {
    const { mark, prepends, splits } = step;
    return { type: 'Metaspace', replacement: mark, prepend_scheme: prepends, split: splits };
  }
  const { behavior, invert } = step;
  return { type: 'Split', pattern: formatPattern(step), behavior, invert };
}

function formatTemplate(
  prefix: readonly number[],
  suffix: readonly number[],
  spellings: ReadonlyMap<number, string>,
): object | null {
  if (prefix.length + suffix.length === 0) return null;
  const around = (sequence: string, type: number) => [
    ...prefix.map((id) => ({ SpecialToken: { id: spellings.get(id), type_id: type } })),
    { Sequence: { id: sequence, type_id: type } },
    ...suffix.map((id) => ({ SpecialToken: { id: spellings.get(id), type_id: type } })),
  ];
  const used = [...new Set([...prefix, ...suffix])].map((id) => spellings.get(id) ?? '');
  const idOf = new Map([...spellings].map(([id, token]) => [token, id]));
  return {
    type: 'TemplateProcessing',
    single: around('A', 0),
    pair: [...around('A', 0), ...around('B', 1)],
    special_tokens: Object.fromEntries(
      used.map((token) => [token, { id: token, ids: [idOf.get(token)], tokens: [token] }]),
    ),
  };
}
