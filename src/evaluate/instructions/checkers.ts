// Whether an answer follows an instruction that can be checked by code: the 25 types of IFEval (Zhou et al. 2023, arXiv 2311.07911),
// as its prompts state them. Strict: the answer as it is, nothing taken off first.
import * as z from 'zod';
import { languageOf } from './language.ts';
import { capitalWordCount, isCapital, isSmall, sentencesOf, wordCount } from './words.ts';

/** An instruction's settings, as the data set names them. */
export const settingsSchema = z.object({
  relation: z.enum(['less than', 'at least']).nullish(),
  let_relation: z.enum(['less than', 'at least']).nullish(),
  capital_relation: z.enum(['less than', 'at least']).nullish(),
  keyword: z.string().nullish(),
  keywords: z.array(z.string()).nullish(),
  forbidden_words: z.array(z.string()).nullish(),
  frequency: z.number().nullish(),
  letter: z.string().nullish(),
  let_frequency: z.number().nullish(),
  capital_frequency: z.number().nullish(),
  language: z.string().nullish(),
  num_sentences: z.number().nullish(),
  num_paragraphs: z.number().nullish(),
  num_words: z.number().nullish(),
  nth_paragraph: z.number().nullish(),
  first_word: z.string().nullish(),
  num_placeholders: z.number().nullish(),
  postscript_marker: z.string().nullish(),
  num_bullets: z.number().nullish(),
  num_highlights: z.number().nullish(),
  section_spliter: z.string().nullish(),
  num_sections: z.number().nullish(),
  prompt_to_repeat: z.string().nullish(),
  end_phrase: z.string().nullish(),
});
export type InstructionSettings = z.infer<typeof settingsSchema>;

type Checker = (answer: string, settings: InstructionSettings) => boolean;

const escaped = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\/-]/g, '\\$&');
const countOf = (text: string, pattern: RegExp) => text.match(pattern)?.length ?? 0;

function compares(count: number, relation: string | null | undefined, than: number | null | undefined): boolean {
  return relation === 'less than' ? count < (than ?? 0) : count >= (than ?? 0);
}

/** `text` without any of `characters` at its two ends. */
function stripped(text: string, characters: string): string {
  const all = [...text];
  const keeps = (character: string) => !characters.includes(character);
  const from = all.findIndex(keeps);
  return from < 0 ? '' : all.slice(from, all.findLastIndex(keeps) + 1).join('');
}

/** Parts between dividers; nothing may stand before the first and behind the last. Undefined where one between them is empty. */
function partsBetween(text: string, divider: RegExp): string[] | undefined {
  const parts = text.split(divider);
  if (parts.slice(1, -1).some((part) => part.trim() === '')) return undefined;
  return parts.filter((part) => part.trim() !== '');
}

const highlighted: Checker = (answer, { num_highlights: wanted }) => {
  const single = answer.match(/\*[^\n*]*\*/g) ?? [];
  const double = answer.match(/\*\*[^\n*]*\*\*/g) ?? [];
  const filled = [...single.map((part) => stripped(part, '*')), ...double.map((part) => part.slice(2, -2))];
  return filled.filter((part) => part.trim() !== '').length >= (wanted ?? 0);
};

const firstWord: Checker = (answer, { num_paragraphs: count, nth_paragraph: nth, first_word: wanted }) => {
  const paragraphs = answer.split('\n\n');
  const filled = paragraphs.filter((paragraph) => paragraph.trim() !== '').length;
  const chosen = nth && nth <= filled ? (paragraphs[nth - 1] ?? '').trim() : '';
  const [word = ''] = chosen.split(/\s+/u);
  const [bare = ''] = word.replace(/^'*"*/, '').split(/[.,?!'"]/);
  return chosen !== '' && filled === count && bare.toLowerCase() === wanted;
};

const postscript: Checker = (answer, { postscript_marker: marker }) => {
  const lower = answer.toLowerCase();
  if (marker === 'P.P.S') return /p\.\s?p\.\s?s/.test(lower);
  if (marker === 'P.S.') return /p\.\s?s\./.test(lower);
  return lower.includes((marker ?? '').toLowerCase());
};

const isJson: Checker = (answer) => {
  const bare = answer
    .trim()
    .replace(/^```(?:json|Json|JSON)?/, '')
    .replace(/```$/, '');
  try {
    JSON.parse(bare);
    return true;
  } catch {
    return false;
  }
};

const isEnglish = (text: string) => [undefined, 'en'].includes(languageOf(text));

/** By the ids of the data set. */
export const checkers: Readonly<Record<string, Checker>> = {
  'keywords:existence': (answer, { keywords }) =>
    (keywords ?? []).every((word) => new RegExp(escaped(word), 'iu').test(answer)),
  'keywords:frequency': (answer, { keyword, relation, frequency }) =>
    compares(countOf(answer, new RegExp(escaped(keyword ?? ''), 'giu')), relation, frequency),
  'keywords:forbidden_words': (answer, { forbidden_words: forbidden }) =>
    !(forbidden ?? []).some((word) =>
      new RegExp(`(?<![\\p{L}\\p{N}_])${escaped(word)}(?![\\p{L}\\p{N}_])`, 'iu').test(answer),
    ),
  'keywords:letter_frequency': (answer, { letter, let_relation: relation, let_frequency: frequency }) =>
    compares(answer.toLowerCase().split((letter ?? '').toLowerCase()).length - 1, relation, frequency),
  'language:response_language': (answer, { language }) => [undefined, language].includes(languageOf(answer)),
  'length_constraints:number_sentences': (answer, { relation, num_sentences: than }) =>
    compares(sentencesOf(answer).length, relation, than),
  'length_constraints:number_paragraphs': (answer, { num_paragraphs: count }) =>
    partsBetween(answer, /\s?\*\*\*\s?/)?.length === count,
  'length_constraints:number_words': (answer, { relation, num_words: than }) =>
    compares(wordCount(answer), relation, than),
  'length_constraints:nth_paragraph_first_word': firstWord,
  'detectable_content:number_placeholders': (answer, { num_placeholders: least }) =>
    countOf(answer, /\[.*?\]/g) >= (least ?? 0),
  'detectable_content:postscript': postscript,
  'detectable_format:number_bullet_lists': (answer, { num_bullets: count }) =>
    countOf(answer, /^\s*\*[^*].*$/gm) + countOf(answer, /^\s*-.*$/gm) === count,
  'detectable_format:constrained_response': (answer) =>
    ['My answer is yes.', 'My answer is no.', 'My answer is maybe.'].some((option) => answer.includes(option)),
  'detectable_format:number_highlighted_sections': highlighted,
  'detectable_format:multiple_sections': (answer, { section_spliter: name, num_sections: least }) =>
    countOf(answer, new RegExp(`${escaped(name ?? '')}\\s?\\d+`, 'gu')) >= (least ?? 0),
  'detectable_format:json_format': isJson,
  'detectable_format:title': (answer) =>
    (answer.match(/<<[^\n]+>>/g) ?? []).some((title) => title.replace(/^<+/, '').replace(/>+$/, '').trim() !== ''),
  'combination:two_responses': (answer) => {
    const [first, second, ...more] = partsBetween(answer, /\*{6}/) ?? [];
    return second !== undefined && more.length === 0 && first?.trim() !== second.trim();
  },
  'combination:repeat_prompt': (answer, { prompt_to_repeat: prompt }) =>
    answer
      .trim()
      .toLowerCase()
      .startsWith((prompt ?? '').trim().toLowerCase()),
  'startend:end_checker': (answer, { end_phrase: phrase }) =>
    stripped(answer.trim(), '"')
      .toLowerCase()
      .endsWith((phrase ?? '').trim().toLowerCase()),
  'startend:quotation': (answer) => /^"[^]*"$/.test(answer.trim()),
  'change_case:capital_word_frequency': (answer, { capital_relation: relation, capital_frequency: than }) =>
    compares(capitalWordCount(answer), relation, than),
  'change_case:english_capital': (answer) => isCapital(answer) && isEnglish(answer),
  'change_case:english_lowercase': (answer) => isSmall(answer) && isEnglish(answer),
  'punctuation:no_comma': (answer) => !answer.includes(','),
};

/** Whether an answer follows an instruction; an empty one follows none. */
export function follows(id: string, answer: string, settings: InstructionSettings): boolean {
  return answer.trim() !== '' && (checkers[id]?.(answer, settings) ?? false);
}
