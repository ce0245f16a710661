// peft's adapter_config.json of LoRA adapters (Hu et al. 2021, arXiv 2106.09685): read, with all that it may ask for and that is not
// known here refused, and written.
import * as z from 'zod';
import { LfmError } from '../tensor/error.ts';
import { wholeNumber } from './config.ts';

const pattern = z.string().max(1024);
const rank = wholeNumber(1, 2 ** 14);
const alpha = z.number().min(-1e6).max(1e6);
const listed = <T extends z.ZodType>(of: T) => z.record(pattern, of).nullish();

/** Ways to begin training; the others change the base too. */
const beginnings = ['gaussian', 'eva', 'orthogonal'] as const;

const schema = z.looseObject({
  peft_type: z.literal('LORA'),
  r: rank,
  lora_alpha: alpha,
  target_modules: z.union([
    pattern,
    z
      .array(pattern)
      .min(1)
      .max(2 ** 16),
  ]),
  use_rslora: z.boolean().nullish(),
  bias: z.literal('none').default('none'),
  rank_pattern: listed(rank),
  alpha_pattern: listed(alpha),
  init_lora_weights: z.union([z.boolean(), z.enum(beginnings)]).nullish(),
});

/** Keys that say nothing of what an adapter computes, or that its tensors say as well. */
const harmless = new Set(
  `task_type auto_mapping peft_version base_model_name_or_path revision inference_mode lora_dropout fan_in_fan_out megatron_core
   qalora_group_size eva_config ensure_weight_tying exclude_modules layers_to_transform layers_pattern`.split(/\s+/),
);

export interface PeftConfig {
  /** Rank and factor of the change of a module, by its name in the checkpoint. Errors: `bad-adapter` for a bad pattern. */
  lowRank(module: string): { readonly rank: number; readonly scale: number };
  /** Whether the list of modules names it; false where there is no list that would tell. */
  names(module: string): boolean;
}

/** Errors: `bad-adapter`, naming the key and what was expected there. */
export function readPeftConfig(json: unknown): PeftConfig {
  const result = schema.safeParse(json);
  if (!result.success) {
    const [issue] = result.error.issues;
    throw bad(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not a configuration'}`);
  }
  const config = result.data;
  const asks = (value: unknown) =>
    value !== null && value !== false && !(typeof value === 'object' && Object.keys(value).length === 0);
  const unknown = Object.keys(config).find((key) => !(key in schema.shape) && !harmless.has(key) && asks(config[key]));
  if (unknown !== undefined)
    throw bad(
      `${unknown} is set, which lfm's adapters do not have: expected plain LoRA, as peft makes it without that option`,
    );
  const ranks = matcher(config.rank_pattern);
  const alphas = matcher(config.alpha_pattern);
  const targets = config.target_modules;
  const isWhole = !asks(config.exclude_modules ?? null) && !asks(config.layers_to_transform ?? null);
  return {
    lowRank: (module) => {
      const found = ranks(module) ?? config.r;
      const over = config.use_rslora === true ? Math.sqrt(found) : found;
      return { rank: found, scale: (alphas(module) ?? config.lora_alpha) / over };
    },
    names: (module) =>
      typeof targets !== 'string' && isWhole && targets.some((one) => module === one || module.endsWith(`.${one}`)),
  };
}

/** The value of the first pattern that fits the end of a name. */
function matcher(patterns: Readonly<Record<string, number>> | null | undefined): (name: string) => number | undefined {
  const known = Object.entries(patterns ?? {}).map(([text, value]) => [expression(text), value] as const);
  return (name) => known.find(([one]) => one.test(name))?.[1];
}

/** Repetitions that an expression may have, none of a group: more could take for ever on a name. */
const MOST_REPETITIONS = 4;

function expression(text: string): RegExp {
  const repeats = text.replaceAll(/\\./g, '_').match(/[*+{]/g)?.length ?? 0;
  if (repeats > MOST_REPETITIONS || /\)[*+?{]/.test(text))
    throw bad(`the pattern ${JSON.stringify(text)} repeats more than is tried here: write the modules' names`);
  try {
    return new RegExp(`^(?:.*\\.)?(?:${text})$`);
  } catch (cause) {
    throw bad(`the pattern ${JSON.stringify(text)} cannot be read: ${(cause as Error).message}`);
  }
}

function bad(why: string): LfmError {
  return new LfmError('bad-adapter', `adapter_config.json: ${why}.`);
}

/** The adapter_config.json of an adapter of these modules, as peft reads it. */
export function peftConfigOf(
  modules: readonly string[],
  { rank: r, alpha: lora_alpha }: { rank: number; alpha: number },
) {
  return {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: null,
    inference_mode: true,
    r,
    lora_alpha,
    lora_dropout: 0,
    bias: 'none',
    target_modules: modules,
    use_rslora: false,
  };
}

/** What peft calls the two factors of a module's change. */
export function peftNames(module: string): { readonly a: string; readonly b: string } {
  return { a: `base_model.model.${module}.lora_A.weight`, b: `base_model.model.${module}.lora_B.weight` };
}
