// The model of a recipe: an LFM2 configuration in camelCase, a config.json with its model_type, or a folder to start from.
import * as z from 'zod';
import type { Model } from '../liquid/index.ts';
import { modelFromConfig } from '../models/index.ts';
import { LfmError } from '../tensor/error.ts';

const count = z
  .number()
  .int()
  .positive()
  .max(2 ** 24);
const tokenId = z
  .number()
  .int()
  .min(0)
  .max(2 ** 24)
  .nullable();

/** Sizes are as built: nothing adjusts them. What they mean together is checked where the model is made. */
export const camelSchema = z.strictObject({
  /** Absent: the tokenizer's. */
  vocabSize: count.optional(),
  hiddenSize: count,
  intermediateSize: count,
  layerTypes: z
    .array(z.enum(['conv', 'full_attention']))
    .min(1)
    .max(1024),
  numAttentionHeads: count,
  numKeyValueHeads: count.optional(),
  ropeTheta: z.number().positive().max(1e12).optional(),
  convLCache: count.optional(),
  convBias: z.boolean().optional(),
  normEps: z.number().positive().max(1).optional(),
  initializerRange: z.number().positive().max(10).optional(),
  maxPositionEmbeddings: count.optional(),
  tieWordEmbeddings: z.boolean().optional(),
  /** Absent: the tokenizer's. */
  padTokenId: tokenId.optional(),
  bosTokenId: tokenId.optional(),
  eosTokenId: tokenId.optional(),
});

const folderSchema = z.strictObject({ folder: z.string().min(1).max(4096) });

/** Operators for some depths: their name and options, as a config.json of `liquid` has them. */
const replacement = z.strictObject({
  layers: z.array(z.number().int().min(0).max(1023)).min(1).max(1024),
  operator: z.string().min(1).max(256),
  options: z.record(z.string(), z.unknown()).default({}),
});

const fromSchema = z.strictObject({
  /** A folder, a GGUF file, or a shipped name. */
  from: z.string().min(1).max(4096),
  /** Layers to leave out; the depths of `replace` are those that are left. */
  drop: z.array(z.number().int().min(0).max(1023)).min(1).max(1024).optional(),
  /** Units that each gated MLP keeps: those with the largest weights. */
  intermediateSize: count.optional(),
  /** What takes the place of the operators that mix tokens there; all other weights stay. */
  replace: z.union([replacement.transform((one) => [one]), z.array(replacement).min(1).max(64)]).optional(),
});

export type CamelModel = z.output<typeof camelSchema>;
export interface ConfigJson {
  readonly model_type: string;
  readonly [key: string]: unknown;
}
export interface FolderModel {
  readonly folder: string;
}
export type FromModel = z.output<typeof fromSchema>;
export type Replacement = z.output<typeof replacement>;
/** A model whose weights and vocabulary are there. */
export type StoredModel = FolderModel | FromModel;
export type ModelSpec = StoredModel | ConfigJson | CamelModel;

/** Whether a run starts from weights that are there. */
export function isStoredModel(spec: ModelSpec): spec is StoredModel {
  return !('model_type' in spec) && ('folder' in spec || 'from' in spec);
}

/**
 * `model_type` marks a config.json, whose other keys are its architecture's affair (with `liquid`, what the tokenizer knows
 * may be left out); `folder` a model folder to start from, `from` any model by name, with operators of it replaced where it
 * says so; anything else is a configuration in camelCase, where an unknown key is an
 * error.
 */
export const modelSchema = z
  .custom<z.input<typeof fromSchema> | FolderModel | ConfigJson | CamelModel>(
    (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
    'expected an object',
  )
  .transform((value, context): ModelSpec => {
    if ('model_type' in value) return value;
    const schema = 'from' in value ? fromSchema : 'folder' in value ? folderSchema : camelSchema;
    const result: z.ZodSafeParseResult<ModelSpec> = schema.safeParse(value);
    if (result.success) return result.data;
    const input: Record<string, unknown> = { ...value };
    for (const { path, message, ...issue } of result.error.issues) {
      const place = { message, path: [...path], input };
      context.issues.push(
        issue.code === 'unrecognized_keys'
          ? { ...place, code: issue.code, keys: issue.keys }
          : { ...place, code: 'custom' },
      );
    }
    return z.NEVER;
  });

/** Ids that a model's config.json tells generation of, from the tokenizer. */
export interface TokenIds {
  readonly pad: number | null;
  readonly endOfText: number;
}

const snakeNames: Readonly<Record<string, string>> = { convLCache: 'conv_L_cache' };

function snakeCase(key: string): string {
  return snakeNames[key] ?? key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function snakeKeys(record: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [snakeCase(key), value]));
}

export interface ModelContext {
  readonly vocabSize: number;
  readonly ids: TokenIds;
  /** Tokens a row: the reach of a model that names none. */
  readonly length: number;
}

/**
 * The model of a specification without weights. Errors: `bad-recipe`, with what models/ says of the configuration.
 */
export function modelOf(spec: Exclude<ModelSpec, StoredModel>, { vocabSize, ids, length }: ModelContext): Model {
  const filled = {
    vocabSize,
    maxPositionEmbeddings: length,
    padTokenId: ids.pad,
    bosTokenId: ids.endOfText,
    eosTokenId: ids.endOfText,
  };
  try {
    if (!('model_type' in spec)) {
      const named = { ...filled, ...spec, numHiddenLayers: spec.layerTypes.length };
      return modelFromConfig({
        model_type: 'lfm2',
        block_auto_adjust_ff_dim: false,
        num_key_value_heads: null,
        ...snakeKeys(named),
      });
    }
    return modelFromConfig(spec.model_type === 'liquid' ? { ...snakeKeys(filled), ...spec } : spec);
  } catch (error) {
    if (!(error instanceof LfmError)) throw error;
    throw new LfmError('bad-recipe', `the recipe's model: ${error.message.replace(/^config\.json: /, '')}`, {
      cause: error,
    });
  }
}
