// Models of any operators as a config.json: `model_type` "liquid", layers by name, each operator by name with its options.
import * as z from 'zod';
import type { Layer, Model, Operator, OperatorConstructor } from '../liquid/index.ts';
import {
  block,
  defineModel,
  findOperator,
  layer,
  layersFromGenome,
  nameOf,
  operatorsOf,
  parseGenome,
  rms,
  shared,
  stack,
} from '../liquid/index.ts';
import { countOf, LfmError } from '../tensor/index.ts';
import { parseConfig, wholeNumber } from './config.ts';
import type { Json } from './plain-json.ts';
import { plainJson } from './plain-json.ts';

/** What this code writes and reads. */
const VERSION = 1;

// Bounds are far above any model that exists: a hostile file must not decide how much memory is asked for.
const MOST_OPERATORS = 16_384;
const MOST_ELEMENTS = 2 ** 42;
/** Of one axis; programs may hold something for each index along it, as rotary positions do. */
const LONGEST_AXIS = 2 ** 22;

const label = z.string().min(1).max(256);
const tokenId = wholeNumber(0, 2 ** 24).nullable();
const norm = z.strictObject({ kind: z.enum(['rms', 'rms_from_one', 'layer']), name: label });
const names = z.array(label).max(256).readonly();

const optionsSchema = z.record(z.string(), z.unknown());

const operatorSchema = z.strictObject({
  operator: label,
  options: optionsSchema.default({}),
  sharing: z
    .strictObject({
      weights: z
        .strictObject({ group: label, features: names.exactOptional(), own: names.exactOptional() })
        .exactOptional(),
      features: z.strictObject({ group: label, names }).exactOptional(),
    })
    .exactOptional(),
});

const blockSchema = z.strictObject({
  operators: z.array(operatorSchema).min(1).max(256),
  norm: norm.exactOptional(),
  post_norm: norm.exactOptional(),
  aside: z.literal(true).exactOptional(),
});

/** `mixer` and `mlp`, each behind its norm as in LFM2, or any blocks. */
const layerSchema = z
  .strictObject({
    mixer: operatorSchema.exactOptional(),
    mlp: operatorSchema.exactOptional(),
    blocks: z.array(blockSchema).min(1).max(256).exactOptional(),
  })
  .refine(
    ({ mixer, mlp, blocks }) => (blocks ? !mixer && !mlp : mixer && mlp),
    'expected mixer and mlp, or blocks alone',
  );

const schema = z.strictObject({
  model_type: z.literal('liquid'),
  liquid_version: z.literal(
    VERSION,
    `expected ${VERSION}, the version that this lfm reads; a newer lfm may read others`,
  ),
  vocab_size: wholeNumber(1, 2 ** 24),
  hidden_size: wholeNumber(1, 2 ** 18),
  /** Definitions by a name of the file's own. */
  layers: z.record(label, layerSchema),
  /** The name of each layer's definition, by depth. */
  layer_types: z.array(label).min(1).max(1024),
  final_norm: norm.default({ kind: 'rms', name: 'embedding_norm' }),
  norm_eps: z.number().positive().max(1).default(1e-5),
  initializer_range: z.number().positive().max(1e3).default(0.02),
  max_position_embeddings: wholeNumber(1, 2 ** 30).default(32_768),
  tie_word_embeddings: z.boolean().default(true),
  head_bias: z.boolean().default(false),
  embedding_scale: z.number().positive().max(1e6).exactOptional(),
  logit_soft_cap: z.number().positive().max(1e6).exactOptional(),
  pad_token_id: tokenId.default(null),
  bos_token_id: tokenId.default(null),
  eos_token_id: z.union([tokenId, z.array(wholeNumber(0, 2 ** 24)).max(1024)]).default(null),
  /** Of the weights beside it. */
  dtype: z.enum(['float32', 'bfloat16', 'float16']).exactOptional(),
  /** How they are packed: who reads them knows. */
  quantization_config: z.unknown().optional(),
});

export type LiquidConfig = z.infer<typeof schema>;
type StoredOperator = z.input<typeof operatorSchema>;
type StoredLayer = z.input<typeof layerSchema>;

// --- reading ---

/**
 * The model that a config.json of `model_type` "liquid" describes. `operators` are those that the library does not have.
 * Errors: `bad-config`, naming the key or the operator; `unknown-operator`; what an operator says of sizes.
 */
export function liquid(json: unknown, operators: readonly OperatorConstructor[] = []): Model {
  const {
    dtype: _,
    quantization_config: __,
    ...config
  } = parseConfig(schema, withLayers(plainJson(json, 'config.json', 'bad-config')));
  const definitions = new Map(Object.entries(config.layers));
  const placed = config.layer_types.map((name, depth) => {
    const found = definitions.get(name);
    if (found) return found;
    throw badConfig(`layer_types.${depth}: there is no ${JSON.stringify(name)} in layers`);
  });
  const count = placed.reduce(
    (sum, { blocks }) => sum + (blocks?.reduce((n, one) => n + one.operators.length, 0) ?? 2),
    0,
  );
  if (count > MOST_OPERATORS)
    throw badConfig(`layer_types: ${count} operators in all; expected at most ${MOST_OPERATORS}`);
  const layers = new Map(
    [...definitions].map(([name, one]) => [
      name,
      layerOf(one, { at: `layers.${name}`, hiddenSize: config.hidden_size, given: operators }),
    ]),
  );
  const model = guarded('', () =>
    defineModel({
      vocabSize: config.vocab_size,
      hiddenSize: config.hidden_size,
      layers: config.layer_types.flatMap((name) => layers.get(name) ?? []),
      finalNorm: config.final_norm,
      normEps: config.norm_eps,
      initializerRange: config.initializer_range,
      contextLength: config.max_position_embeddings,
      tieEmbeddings: config.tie_word_embeddings,
      headBias: config.head_bias,
      ...(config.embedding_scale !== undefined && { embeddingScale: config.embedding_scale }),
      ...(config.logit_soft_cap !== undefined && { logitSoftCap: config.logit_soft_cap }),
      config,
    }),
  );
  const total = Object.values(model.parameters).reduce((sum, { shape }) => sum + countOf(shape), 0);
  if (total > MOST_ELEMENTS) throw badConfig(`it has ${total} parameters; expected at most ${MOST_ELEMENTS}`);
  return model;
}

/** What a configuration may say instead of `layers`: a backbone genome, and the sizes it leaves open. */
const genomeSchema = z.looseObject({
  genome: z.string().max(8192),
  layers: z.undefined('a genome says what the layers are: give one of the two').optional(),
  layer_types: z.undefined('a genome says what the layers are: give one of the two').optional(),
  head_dim: wholeNumber(1, 2 ** 18).exactOptional(),
  intermediate_size: wholeNumber(1, 2 ** 20).exactOptional(),
  rope_theta: z.number().positive().max(1e12).exactOptional(),
});

/** With the layers of its genome written out, where it has one. */
function withLayers(json: Json): unknown {
  if (typeof json !== 'object' || json === null || !('genome' in json)) return json;
  const parsed = parseConfig(genomeSchema, json);
  const { genome, layers: _, layer_types: __, head_dim, intermediate_size, rope_theta, ...rest } = parsed;
  const sizes = {
    ...(head_dim !== undefined && { headDim: head_dim }),
    ...(intermediate_size !== undefined && { intermediateSize: intermediate_size }),
    ...(rope_theta !== undefined && { theta: rope_theta }),
  };
  const made = guarded('', () => layersFromGenome(parseGenome(genome), sizes));
  const { layers, layerTypes } = storedLayers(made);
  return { ...rest, layers, layer_types: layerTypes };
}

interface Place {
  /** Key of the definition. */
  readonly at: string;
  readonly hiddenSize: number;
  readonly given: readonly OperatorConstructor[];
}

function layerOf({ mixer, mlp, blocks }: z.output<typeof layerSchema>, { at, hiddenSize, given }: Place): Layer {
  const made = ({ operator: name, options, sharing }: z.output<typeof operatorSchema>, key: string): Operator => {
    const make = findOperator(name, given);
    const operator = guarded(`${at}.${key}: `, () => {
      const found = make(options);
      requireSizes({ ...found.parameters({ hiddenSize }), ...found.state({ hiddenSize }) });
      return found;
    });
    return sharing ? shared(operator, sharing) : operator;
  };
  if (mixer && mlp) return layer(made(mixer, 'mixer'), made(mlp, 'mlp'));
  return stack(
    ...(blocks ?? []).map(({ operators, norm: before, post_norm: after, aside }, index) =>
      block(
        operators.map((one, place) => made(one, `blocks.${index}.operators.${place}`)),
        { ...(before && { norm: before }), ...(after && { postNorm: after }), ...(aside && { aside }) },
      ),
    ),
  );
}

/** Options are any operator's own: whatever it makes of wrong ones is an error of the file, not of the program. */
function guarded<T>(what: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    throw badConfig(`${what}${error instanceof Error ? error.message : String(error)}`, error);
  }
}

/** What an operator declares must be sizes, before anybody asks for memory or a program. */
function requireSizes(
  declared: Readonly<Record<string, { readonly shape: readonly number[]; readonly size?: number }>>,
): void {
  const isSize = (size: number) => Number.isSafeInteger(size) && size >= 1 && size <= LONGEST_AXIS;
  // A window counts its rows apart from their shape.
  for (const [name, { shape, size = 1 }] of Object.entries(declared)) {
    if ([...shape, size].every(isSize)) continue;
    throw new LfmError(
      'bad-config',
      `its options make ${name} ${size === 1 ? '' : `${size} rows of `}[${shape.map(String).join(', ')}]; expected whole sizes from 1 to ${LONGEST_AXIS}`,
    );
  }
}

function badConfig(message: string, cause?: unknown): LfmError {
  return new LfmError('bad-config', `config.json: ${message.replace(/\.$/, '')}.`, { cause });
}

// --- writing ---

/** Token ids that generation is told of, where the configuration is made. */
export interface ConfigIds {
  readonly pad: number | null;
  readonly endOfText: number;
}

/**
 * The config.json of a model with a token embedding and a tied or untied head; what else its ends do is not written, so the
 * caller compares. Errors: `not-json` where an operator has options that JSON does not hold.
 */
export function toLiquid(model: Model, { pad, endOfText }: ConfigIds): LiquidConfig {
  const { layers, layerTypes } = storedLayers(model.layers);
  return parseConfig(schema, {
    model_type: 'liquid',
    liquid_version: VERSION,
    vocab_size: model.head.classes,
    hidden_size: model.hiddenSize,
    layers,
    layer_types: layerTypes,
    final_norm: model.finalNorm,
    norm_eps: model.normEps,
    initializer_range: model.initializerRange,
    max_position_embeddings: model.contextLength,
    tie_word_embeddings: !model.parameters['lm_head.weight'],
    head_bias: model.parameters['lm_head.bias'] !== undefined,
    ...(model.encoder.scale !== undefined && { embedding_scale: model.encoder.scale }),
    ...(model.head.softCap !== undefined && { logit_soft_cap: model.head.softCap }),
    pad_token_id: pad,
    bos_token_id: endOfText,
    eos_token_id: endOfText,
  });
}

/** Each definition once, under the name of its first operator. */
function storedLayers(all: readonly Layer[]): { layers: Record<string, StoredLayer>; layerTypes: string[] } {
  const byText = new Map<string, string>();
  const layers: Record<string, StoredLayer> = {};
  const layerTypes = all.map((one, depth) => {
    const stored = storedLayer(one, depth);
    const text = JSON.stringify(stored);
    const [first] = operatorsOf(one);
    const name = byText.get(text) ?? freeName(first ? nameOf(first) : 'layer', layers);
    byText.set(text, name);
    layers[name] = stored;
    return name;
  });
  return { layers, layerTypes };
}

function freeName(wanted: string, taken: object): string {
  for (let name = wanted, n = 2; ; name = `${wanted}_${n++}`) if (!Object.hasOwn(taken, name)) return name;
}

function storedLayer({ blocks }: Layer, depth: number): StoredLayer {
  const stored = ({ name, options, sharing }: Operator): StoredOperator => ({
    operator: name,
    options: optionsSchema.parse(plainJson(options, `layer ${depth}: the options of ${name}`, 'not-json')),
    ...(sharing && { sharing }),
  });
  const found = blocks.map(({ operators, norm: before, postNorm: after, aside }) => ({
    operators: operators.map(stored),
    ...(before && { norm: before }),
    ...(after && { post_norm: after }),
    ...(aside && { aside }),
  }));
  const [mixer, mlp] = found.flatMap(({ operators }) => operators);
  return mixer && mlp && JSON.stringify(found) === JSON.stringify(pairOf(mixer, mlp))
    ? { mixer, mlp }
    : { blocks: found };
}

/** The blocks that `layer(mixer, mlp)` has, as they would be written out. */
function pairOf(mixer: StoredOperator, mlp: StoredOperator) {
  return [
    { operators: [mixer], norm: rms('operator_norm') },
    { operators: [mlp], norm: rms('ffn_norm') },
  ];
}
