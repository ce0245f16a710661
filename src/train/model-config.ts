// config.json of a model: its own, LFM2's where its layers amount to one, which transformers reads too, or `liquid`.
import type { Model, OperatorConstructor } from '../liquid/index.ts';
import { operator, operatorNames, operatorsOf, stepProgram } from '../liquid/index.ts';
import { fromHuggingFace, lfm2, liquid, toHuggingFace, toLiquid } from '../models/index.ts';
import { LfmError, printProgram } from '../tensor/index.ts';
import type { TokenIds } from './recipe-model.ts';

type Config = Readonly<Record<string, unknown>>;

/**
 * The config.json of a model; the ids are the tokenizer's, for a model that was put together in code. What is written has been
 * read back, and gives the same parameters and the same program.
 * Errors: `not-json` where an operator has options that JSON does not hold, `no-config` where a config.json cannot say all
 * that the model does.
 */
export function configOf(model: Model, ids: TokenIds): Config {
  if (model.config) return model.config;
  const known = lfm2Config(model, ids);
  if (known) return known;
  const config = toLiquid(model, ids);
  const again = liquid(config, standIns(model));
  if (isSame(again, model)) return config;
  throw new LfmError(
    'no-config',
    'No config.json describes this model: read back, it would compute something else. A model can be saved whose encoder is ' +
      'tokenEmbedding({ vocabSize }), whose head is the same table or classHead({ classes: vocabSize }), and whose operators ' +
      'are made by operator(name, define) from their options alone. Give defineModel a `config` to save with any other.',
  );
}

/** LFM2's configuration, if that is what the model is: short convolutions and attention, each with a SwiGLU, alike at all depths. */
function lfm2Config(model: Model, { pad, endOfText }: TokenIds): Config | undefined {
  const operators = model.layers.flatMap(operatorsOf);
  const optionsOf = (name: string): Config => ({ ...(operators.find((one) => one.name === name)?.options as Config) });
  const [attention, conv, mlp] = ['attention', 'short_conv', 'swiglu'].map(optionsOf);
  const heads = Number(attention?.heads ?? 1);
  const config = toHuggingFace({
    vocabSize: model.head.classes,
    hiddenSize: model.hiddenSize,
    intermediateSize: Number(mlp?.intermediateSize),
    layerTypes: model.layers.map((one) => (operatorsOf(one)[0]?.name === 'attention' ? 'full_attention' : 'conv')),
    numAttentionHeads: heads,
    numKeyValueHeads: Number(attention?.keyValueHeads ?? heads),
    ropeTheta: Number(attention?.theta ?? 10_000),
    convLCache: Number(conv?.kernel ?? 3),
    convBias: conv?.bias === true,
    normEps: model.normEps,
    initializerRange: model.initializerRange,
    maxPositionEmbeddings: model.contextLength,
    tieWordEmbeddings: !model.parameters['lm_head.weight'],
    padTokenId: pad,
    bosTokenId: endOfText,
    eosTokenId: endOfText,
  });
  try {
    return isSame(lfm2(fromHuggingFace(config)), model) ? config : undefined;
  } catch (error) {
    if (error instanceof LfmError) return undefined;
    throw error;
  }
}

/** Whether two models hold the same parameters, begin them alike, and compute the same; how a loss rounds them is a run's matter. */
function isSame(a: Model, b: Model): boolean {
  const [first, second] = [a, b].map(({ parameters }) =>
    JSON.stringify(parameters, (key, value: unknown) => (key === 'rounding' ? undefined : value)),
  );
  if (first !== second || a.contextLength !== b.contextLength) return false;
  const [one, other] = [a, b].map((model) => printProgram(stepProgram(model, { batch: 1, length: 2, capacity: 4 })));
  return one === other;
}

/** In place of constructors that only whoever defined the model has: each answers what the model holds for such options. */
function standIns(model: Model): OperatorConstructor[] {
  const known = new Set(operatorNames());
  const theirs = model.layers.flatMap(operatorsOf).filter(({ name }) => !known.has(name));
  return [...new Set(theirs.map(({ name }) => name))].map((name) =>
    operator(name, (options: object) => {
      const found = theirs.find((one) => one.name === name && JSON.stringify(one.options) === JSON.stringify(options));
      if (found) return found;
      throw new LfmError(
        'no-config',
        `The operator "${name}" has options that do not come back from JSON as they were.`,
      );
    }),
  );
}
