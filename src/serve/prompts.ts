// Prompts as tokens: given as text or as tokens, one or several.
import type { LanguageModel } from '../generate/model.ts';
import { LfmError } from '../tensor/error.ts';

type Prompts = string | readonly string[] | readonly number[] | readonly (readonly number[])[];

/** Tokens that are given stand as they are: nothing is put before them. Errors: `context-full`. */
export function promptsOf(prompt: Prompts): readonly (string | readonly number[])[] {
  if (typeof prompt === 'string') return [prompt];
  const list: readonly (string | number | readonly number[])[] = prompt;
  const ids = list.filter((entry) => typeof entry === 'number');
  return ids.length > 0 ? [ids] : list.filter((entry) => typeof entry !== 'number');
}

export function encodePrompt(model: LanguageModel, prompt: string | readonly number[]): readonly number[] {
  if (typeof prompt !== 'string') return prompt;
  requireShort(model, prompt.length);
  return model.encode(prompt);
}

/** Refuses what is too long whatever it says, so that nobody waits for it to be cut into tokens. Errors: `context-full`. */
export function requireShort({ tokenizer, contextLength }: LanguageModel, characters: number): void {
  const most = contextLength * longestToken(tokenizer);
  if (characters <= most) return;
  throw new LfmError(
    'context-full',
    `The prompt has ${characters} characters; the model takes at most ${contextLength} tokens, which are less: shorten it.`,
  );
}

const longest = new WeakMap<LanguageModel['tokenizer'], number>();

/** Bytes, of which a character has at least one. */
function longestToken(tokenizer: LanguageModel['tokenizer']): number {
  const known = longest.get(tokenizer);
  if (known !== undefined) return known;
  let most = 1;
  for (let id = 0; id < tokenizer.vocabSize; id++) most = Math.max(most, tokenizer.tokenOf(id)?.length ?? 0);
  longest.set(tokenizer, most);
  return most;
}
