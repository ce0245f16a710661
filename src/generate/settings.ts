// What a model folder says of generating: tokens that end a text, and the sampling its maker advises.
import * as z from 'zod';
import { LfmError } from '../tensor/index.ts';
import type { SamplingOptions } from './sampler.ts';

const ids = z.union([z.number().int(), z.array(z.number().int())]).nullish();

/** As transformers' GenerationConfig has it; other keys are not read. */
const schema = z.object({
  eos_token_id: ids,
  do_sample: z.boolean().nullish(),
  temperature: z.number().nullish(),
  top_k: z.number().int().nullish(),
  top_p: z.number().nullish(),
  min_p: z.number().nullish(),
  typical_p: z.number().nullish(),
  repetition_penalty: z.number().nullish(),
});

export interface GenerationSettings {
  readonly stopIds: readonly number[];
  readonly sampling: SamplingOptions;
}

/**
 * From generation_config.json where there is one; the ending tokens else from config.json.
 * Errors: `bad-generation-config`, naming the file and the key.
 */
export function readGenerationSettings(generationConfig: unknown, config: unknown): GenerationSettings {
  const given = parse(generationConfig ?? {}, 'generation_config.json');
  const ends = given.eos_token_id ?? parse({ eos_token_id: idsOf(config) }, 'config.json').eos_token_id ?? [];
  const sampling: SamplingOptions = {
    temperature: given.do_sample === false ? 0 : (given.temperature ?? undefined),
    topK: given.top_k ?? undefined,
    topP: given.top_p ?? undefined,
    minP: given.min_p ?? undefined,
    typicalP: given.typical_p ?? undefined,
    repetitionPenalty: given.repetition_penalty ?? undefined,
  };
  return { stopIds: typeof ends === 'number' ? [ends] : ends, sampling };
}

/** A model of more than text keeps them with its language model's configuration. */
function idsOf(config: unknown): unknown {
  if (typeof config !== 'object' || config === null) return undefined;
  if ('eos_token_id' in config) return config.eos_token_id;
  return 'text_config' in config ? idsOf(config.text_config) : undefined;
}

function parse(json: unknown, file: string): z.infer<typeof schema> {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new LfmError(
    'bad-generation-config',
    `${file}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'unreadable'}.`,
  );
}
