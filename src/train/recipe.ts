// A recipe: everything that decides a training run, as plain data. Knows no file system.
import * as z from 'zod';
import { LfmError } from '../tensor/error.ts';
import { adamWDefaults } from './adamw.ts';
import { nearest } from './nearest.ts';
import { camelSchema, isStoredModel, modelOf, modelSchema } from './recipe-model.ts';

export const RECIPE_FORMAT = 1;

const whole = (least: number, most: number) => z.number().int().min(least).max(most);
const share = z.number().min(0).max(1);
const name = z
  .string()
  .max(100)
  .regex(/^[a-z0-9][a-z0-9._-]*$/i, 'a name of letters, digits, ".", "_" and "-"');
const path = z.string().min(1).max(4096);
const steps = whole(1, 1e9);

const source = z.strictObject({
  /** How the source is called in reports and in `--data NAME=FILE`. */
  name,
  /** `chat`: .jsonl of {"messages": [{"role", "content"}, …]}, in the model's template, trained on the assistant's turns. */
  kind: z.enum(['text', 'chat']).default('text'),
  /** Which turns of chats count: the assistant's, or all, as a teacher can be followed through all. */
  turns: z.enum(['assistant', 'all']).default('assistant'),
  /** Text files (.txt, .jsonl, plain or .br or .gz); none where the user names them. */
  paths: z.array(path).max(1000).default([]),
  /** Share of the rows, relative to the other sources. */
  weight: z.number().positive().max(1e6).default(1),
});

const schedule = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('cosine'), warmupSteps: whole(0, 1e9).default(0), minimum: share.default(0.1) }),
  z.strictObject({
    kind: z.literal('wsd'),
    warmupSteps: whole(0, 1e9).default(0),
    decaySteps: steps,
    minimum: share.default(0),
  }),
]);

const teacher = {
  /** Whose parameters stay as they are: a folder, a GGUF file, or a shipped name. Default: the model's `from`. */
  teacher: path.optional(),
  /** Element type that the teacher is held in. Default: that of the activations. */
  teacherDtype: z.enum(['float32', 'bfloat16']).optional(),
};

const objective = z.discriminatedUnion('name', [
  z.strictObject({ name: z.literal('next-token') }),
  z.strictObject({
    /** The teacher's distribution over the vocabulary, by KL(teacher || student). */
    name: z.literal('distill'),
    ...teacher,
    temperature: z.number().min(0.05).max(100).default(1),
    /** The share of the next token's cross entropy in the loss. */
    nextToken: share.default(0),
    /** Only the teacher's so many likeliest tokens, by LFM2's decoupled objective. */
    topK: whole(1, 2 ** 20).optional(),
  }),
  z.strictObject({
    /** Each operator of model.replace on its own, to give what the teacher's at its depth gives. */
    name: z.literal('align'),
    ...teacher,
  }),
]);

/** What is trained in the model's place, which stays as it is. */
const adapter = z.strictObject({
  /** Of Hu et al. 2021, arXiv 2106.09685; the run ends with a folder that peft reads. */
  kind: z.literal('lora'),
  rank: whole(1, 1024).default(8),
  /** The change counts alpha / rank times. Default: twice the rank. */
  alpha: z.number().positive().max(1e6).optional(),
  /** Modules by the ends of their names in the checkpoint, as q_proj. Default: every matrix but the vocabulary's tables. */
  targets: z.array(z.string().min(1).max(256)).min(1).max(1000).optional(),
});

const decayRate = z.number().min(0).lt(1);

export const recipeSchema = z.strictObject({
  format: z.literal(RECIPE_FORMAT),
  name,
  model: modelSchema,
  objective: objective.default({ name: 'next-token' }),
  adapter: adapter.optional(),
  /** The forward pass sees matrices as `lfm quantize` would round them, so that what is trained is the rounded model. */
  quantize: z
    .strictObject({
      bits: z.union([z.literal(4), z.literal(8)]),
      block: z.literal([32, 64, 128]).default(32),
    })
    .optional(),
  tokenizer: z
    .strictObject({
      /** Learn a vocabulary of this size from the run's own text. */
      train: z.strictObject({ vocabSize: whole(257, 2 ** 20) }).optional(),
      /** Or take this tokenizer.json. */
      file: path.optional(),
      /** The token that closes every document, and begins every text. */
      endOfText: z.string().min(1).max(100).default('<|endoftext|>'),
      /** A Jinja file for chats, in place of the template that the model comes with. */
      chatTemplate: path.optional(),
    })
    .prefault({}),
  data: z.strictObject({
    sources: z.array(source).min(1).max(100),
    /** What ends a document in a .txt file. */
    documents: z.union([z.enum(['marker', 'file']), z.strictObject({ blankLines: whole(1, 1000) })]).default('marker'),
    /**
     * Rows are windows of one stream of tokens; chats stand whole in theirs. `documents`: no document of a row sees another;
     * `stream`: they do. Default: `documents` where there are chats.
     */
    packing: z.enum(['stream', 'documents']).optional(),
    /** What becomes of chats of more tokens than a row: an error that names the first, or they are left out. */
    longChats: z.enum(['refuse', 'leave-out']).default('refuse'),
  }),
  batch: z.strictObject({
    /** Rows of one pass. */
    size: whole(1, 2 ** 16),
    /** Tokens a row. */
    length: whole(1, 2 ** 20),
    /** Passes whose gradients are added up for one step. */
    accumulate: whole(1, 2 ** 16).default(1),
  }),
  optimizer: z
    .strictObject({
      beta1: decayRate.default(adamWDefaults.beta1),
      beta2: decayRate.default(adamWDefaults.beta2),
      epsilon: z.number().positive().max(1).default(adamWDefaults.epsilon),
      weightDecay: z.number().min(0).max(10).default(adamWDefaults.weightDecay),
      maxNorm: z.number().positive().max(1e9).default(adamWDefaults.maxNorm),
    })
    .prefault({}),
  schedule: schedule.default({ kind: 'cosine', warmupSteps: 0, minimum: 0.1 }),
  /** The peak. */
  learningRate: z.number().positive().max(10),
  steps,
  seed: whole(0, 2 ** 32 - 1).default(0),
  heldOut: z
    .strictObject({
      /** Share of the text that is never trained on; 0 for none. */
      share: z.number().min(0).max(0.5).default(0.01),
      everySteps: steps.default(100),
      /** Bytes of a piece of text that is held out or trained on as a whole. Default: 16384. */
      blockBytes: whole(64, 2 ** 24).optional(),
      /** Most tokens to measure on the way, spread evenly; the end of a run measures all. */
      maxTokens: whole(1, 2 ** 40).default(2 ** 17),
    })
    .prefault({}),
  checkpoint: z
    .strictObject({
      everySteps: steps.default(500),
      /** How many to keep. */
      keep: whole(1, 1000).default(2),
    })
    .prefault({}),
  /** Element type of the weights that the run ends with; checkpoints on the way hold float32. */
  final: z.strictObject({ dtype: z.enum(['float32', 'bfloat16']).default('float32') }).prefault({}),
  engine: z
    .strictObject({
      name: z.string().max(100).optional(),
      threads: whole(1, 4096).optional(),
      /** For xla: a plug-in's name or the path of its library. */
      plugin: path.optional(),
      /** For xla: devices to divide the training over, by axis (data, fsdp, tensor, sequence, expert), the outermost first. */
      mesh: z.partialRecord(z.enum(['data', 'fsdp', 'tensor', 'sequence', 'expert']), whole(1, 4096)).optional(),
      /** For xla: sums in one order, so that a resumed run is the same to the last bit on GPUs too; about a seventh slower there. */
      deterministic: z.boolean().default(false),
      /** Of activations and products; parameters and moments stay float32. */
      dtype: z.enum(['float32', 'bfloat16']).default('float32'),
      /** Recompute each layer in the backward pass: less memory, more arithmetic. */
      recompute: z.boolean().default(false),
    })
    .prefault({}),
  sample: z
    .strictObject({
      prompt: z.string().max(10_000).default(''),
      maxTokens: whole(1, 100_000).default(120),
      temperature: z.number().min(0).max(10).default(0.8),
    })
    .prefault({}),
});

/** A recipe as run: every default filled in. */
export type Recipe = z.output<typeof recipeSchema>;
/** A recipe as written. */
export type RecipeInput = z.input<typeof recipeSchema>;

/** For .js and .ts recipes: types without a cost. */
export function defineRecipe(recipe: RecipeInput): RecipeInput {
  return recipe;
}

/**
 * Reads a recipe from outside; `what` names it in messages. Errors: `bad-recipe`, naming the key, what was expected there
 * and, for an unknown key, the nearest known one; `recipe-format` where it is of a newer version.
 */
export function parseRecipe(value: unknown, what = 'the recipe'): Recipe {
  const format = typeof value === 'object' && value !== null && 'format' in value ? value.format : undefined;
  if (typeof format === 'number' && format > RECIPE_FORMAT) {
    throw new LfmError(
      'recipe-format',
      `${what} has format ${format}; this program reads up to ${RECIPE_FORMAT}: update lfm.`,
    );
  }
  const result = recipeSchema.safeParse(value);
  if (!result.success) throw badRecipe(what, explain(result.error.issues[0]), result.error);
  const wrong = contradiction(result.data);
  if (wrong !== undefined) throw badRecipe(what, wrong);
  return result.data;
}

/** The same run with another number of steps: warm-up and decay keep their shares of it. */
export function withSteps(recipe: Recipe, count: number): Recipe {
  const scaled = (part: number) => Math.round((part * count) / recipe.steps);
  const old = recipe.schedule;
  const warmupSteps = scaled(old.warmupSteps);
  const scheduled =
    old.kind === 'wsd'
      ? { ...old, warmupSteps, decaySteps: Math.max(1, scaled(old.decaySteps)) }
      : { ...old, warmupSteps };
  return parseRecipe({ ...recipe, steps: count, schedule: scheduled }, `the recipe with ${count} steps`);
}

function badRecipe(what: string, message: string, cause?: unknown): LfmError {
  return new LfmError('bad-recipe', `${what}: ${message}`, { cause });
}

/** Whether documents of one row do not see each other. */
export function packsDocuments({ data: { packing, sources } }: Pick<Recipe, 'data'>): boolean {
  return (packing ?? (sources.some(({ kind }) => kind === 'chat') ? 'documents' : 'stream')) === 'documents';
}

/** Who teaches, if anybody. */
export function teacherOf({ model, objective: given }: Pick<Recipe, 'model' | 'objective'>): string | undefined {
  if (given.name === 'next-token') return undefined;
  return given.teacher ?? ('from' in model && typeof model.from === 'string' ? model.from : undefined);
}

/** What each key allows alone but not all together, or undefined. */
function contradiction(recipe: Recipe): string | undefined {
  const { model, objective: trained, tokenizer, data, batch, schedule: plan, steps: count } = recipe;
  if (trained.name === 'align' && !('replace' in model && model.replace))
    return 'objective align: expected a model with { from, replace }, whose new operators it trains.';
  if (trained.name !== 'next-token' && teacherOf(recipe) === undefined)
    return `objective ${trained.name}: expected teacher, the model to learn from.`;
  if (trained.name !== 'next-token' && tokenizer.train)
    return `tokenizer.train: objective ${trained.name} needs the teacher's tokenizer; name its tokenizer.json as tokenizer.file, or begin from the teacher with model.from.`;
  const learned = tokenizer.train?.vocabSize;
  if (tokenizer.train && tokenizer.file !== undefined) return 'tokenizer: expected one of train and file; found both.';
  if (!tokenizer.train && tokenizer.file === undefined && !isStoredModel(model)) {
    return 'tokenizer: expected train, to learn a vocabulary, or file, the path of a tokenizer.json; only a model from a folder brings its own.';
  }
  if (!isStoredModel(model)) {
    const given = 'model_type' in model ? model.vocab_size : model.vocabSize;
    if (learned !== undefined && given !== undefined && given !== learned) {
      return `the model has a vocabulary of ${String(given)}, tokenizer.train asks for ${learned}: make them equal.`;
    }
  } else if (learned !== undefined) {
    return 'tokenizer.train: a model from a folder keeps its own vocabulary; leave the key out.';
  }
  if (recipe.quantize && recipe.final.dtype !== 'float32')
    return `quantize: levels are chosen of float32; found final.dtype ${recipe.final.dtype}.`;
  const adapting = recipe.adapter && adapterContradiction(recipe);
  if (adapting !== undefined) return adapting;
  const falling = plan.kind === 'wsd' ? plan.decaySteps : 1;
  if (plan.warmupSteps + falling > count) {
    return `schedule: ${plan.warmupSteps} steps of warm-up and ${falling} of decay do not fit into ${count} steps.`;
  }
  const names = data.sources.map((entry) => entry.name);
  const twice = names.find((entry, index) => names.indexOf(entry) < index);
  if (twice !== undefined) return `data.sources: two are named "${twice}": give each a name of its own.`;
  if (isStoredModel(model)) return undefined;
  // Ids and a size stand in for what only the tokenizer knows.
  const { contextLength } = modelOf(model, {
    vocabSize: learned ?? 1,
    ids: { pad: null, endOfText: 0 },
    length: batch.length,
  });
  return contextLength < batch.length
    ? `batch.length ${batch.length} exceeds the model's context of ${contextLength} tokens.`
    : undefined;
}

function adapterContradiction({ model, objective: trained, quantize, engine, final }: Recipe): string | undefined {
  if (!('from' in model) || 'model_type' in model || Object.keys(model).length > 1)
    return 'adapter: expected a model with { from }, and none of it replaced or left out: that is what is adapted.';
  if (trained.name !== 'next-token')
    return `adapter: it is trained on the next token; found the objective ${trained.name}.`;
  if (quantize) return 'quantize: it rounds what is trained, and the base of an adapter is not: leave one of them out.';
  if (engine.mesh) return 'adapter: it is trained on one device; leave engine.mesh out.';
  return final.dtype === 'float32' ? undefined : `adapter: it is written in float32; found final.dtype ${final.dtype}.`;
}

function explain(issue: z.core.$ZodIssue | undefined): string {
  if (!issue) return 'not a recipe.';
  const where = issue.path.map(String).join('.');
  const prefix = where ? `${where}: ` : '';
  if (issue.code === 'unrecognized_keys') {
    const [key = ''] = issue.keys;
    const known = keysAt(recipeSchema, issue.path);
    const meant = nearest(key, known);
    return `${prefix}unknown key "${key}"${meant === undefined ? `; known are ${known.join(', ')}` : `; did you mean "${meant}"?`}`;
  }
  return `${prefix}${issue.message}.`;
}

/** The keys that the schema knows at a path. */
function keysAt(schema: z.core.$ZodType, at: readonly PropertyKey[]): string[] {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault)
    return keysAt(schema.unwrap(), at);
  if (schema instanceof z.ZodPipe) return keysAt(camelSchema, at); // the model
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((option) => keysAt(option, at));
  if (schema instanceof z.ZodArray) return keysAt(schema.element, at.slice(1));
  if (!(schema instanceof z.ZodObject)) return [];
  const shape: Readonly<Record<string, z.core.$ZodType>> = schema.shape;
  const [key, ...rest] = at;
  if (key === undefined) return Object.keys(shape);
  const next = shape[String(key)];
  return next ? keysAt(next, rest) : [];
}
