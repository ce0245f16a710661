// What a finished model says, read back from its folder.
import type { Engine } from '../engines/engine.ts';
import { load } from '../generate/load.ts';
import type { Recipe } from './recipe.ts';

export interface Sample {
  /** Of an adapter there are two, one of its base. */
  readonly of?: 'base' | 'adapter';
  readonly prompt: string;
  readonly text: string;
  /** Whether the text answers the prompt, in place of going on with it. */
  readonly isAnswer: boolean;
}

/** As an answer where the model was trained on chats alone, else as a text that goes on. Errors: those of load and generate. */
export async function* samplesOf(
  { model: spec, data, sample, seed }: Recipe,
  final: string,
  isAdapter: boolean,
  engine: Engine,
  signal: AbortSignal | undefined,
): AsyncGenerator<Sample> {
  const { prompt, maxTokens, temperature } = sample;
  const base = isAdapter && 'from' in spec ? String(spec.from) : undefined;
  await using model = await load(base ?? final, { engine, ...(base !== undefined && { adapters: { final } }) });
  const answers = data.sources.every(({ kind }) => kind === 'chat') && model.chats && prompt !== '';
  for (const of of base === undefined ? [undefined] : (['base', 'adapter'] as const)) {
    const adapter = of === 'adapter' ? 'final' : undefined;
    const options = { maxTokens, temperature, seed, signal, ...(adapter && { adapter }) };
    const reply = answers ? model.chat([{ role: 'user', content: prompt }], options) : model.generate(prompt, options);
    const { text } = await reply;
    yield { prompt, text, isAnswer: answers, ...(of && { of }) };
  }
}
