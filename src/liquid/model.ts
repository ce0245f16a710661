// The backbone: a stack of layers between an encoder and a head, with all its parameters and states under flat names.
import type { Tensor } from '../tensor/index.ts';
import { add, checkpoint, LfmError } from '../tensor/index.ts';
import type { Context } from './context.ts';
import type { Encoder, Head } from './ends.ts';
import { classHead, logitsOf, tiedHead, tokenEmbedding } from './ends.ts';
import type { Layer } from './layer.ts';
import type { Norm } from './norm.ts';
import { applyNorm, normParameters, rms } from './norm.ts';
import type { StateTensors } from './operator.ts';
import { applyOperator } from './operator.ts';
import type { Parameter, Tensors } from './parameter.ts';
import { take } from './parameter.ts';
import type { Link, PlacedOperator } from './place.ts';
import { Placer } from './place.ts';
import type { StateDeclaration } from './state.ts';

export interface ForwardOptions {
  /** Recompute each layer in the backward pass instead of keeping what it computed. For calls without state. */
  readonly checkpoint?: boolean;
  /** Sees what each operator takes and gives, both [B, T, D]: the normalised input, and the output before the norm after it. */
  readonly tap?: (operator: PlacedOperator, input: Tensor, output: Tensor) => void;
}

export interface Model {
  readonly hiddenSize: number;
  readonly normEps: number;
  readonly finalNorm: Norm;
  readonly initializerRange: number;
  /** Tokens a sequence may have. */
  readonly contextLength: number;
  /** What its config.json says, where the model has one. */
  readonly config: Readonly<Record<string, unknown>> | undefined;
  readonly layers: readonly Layer[];
  /** What operators have in common, in the order of their depths. */
  readonly links: readonly Link[];
  readonly encoder: Encoder;
  readonly head: Head;
  /** By checkpoint name, in the order of their use. */
  readonly parameters: Readonly<Record<string, Parameter>>;
  /** By names such as `layers.3.self_attn.keys`. */
  readonly states: Readonly<Record<string, StateDeclaration>>;
  /**
   * Hidden states [B, T, D] after the last norm, the next states where states were given, and what operators observed where
   * the context says which tokens count, by the names of the parameters that it is for.
   */
  forward(
    p: Tensors,
    inputs: Tensors,
    context: Context,
    states?: Tensors,
    options?: ForwardOptions,
  ): { hidden_BTD: Tensor; states: StateTensors; observed?: Tensors };
  /** Scores [..., classes] of hidden states [..., D]. */
  logits(p: Tensors, hidden: Tensor): Tensor;
}

/** A language model by its vocabulary, or any sequence model by its two ends. */
type Ends =
  | {
      readonly vocabSize: number;
      readonly tieEmbeddings?: boolean;
      /** Whether a head of its own adds a number a token (Phi). */
      readonly headBias?: boolean;
      /** What embeddings are multiplied by, and logits capped at by tanh (Gemma 2). */
      readonly embeddingScale?: number;
      readonly logitSoftCap?: number;
      readonly encoder?: undefined;
      readonly head?: undefined;
    }
  | {
      readonly encoder: Encoder;
      readonly head: Head;
      readonly vocabSize?: undefined;
      readonly tieEmbeddings?: undefined;
      readonly headBias?: undefined;
      readonly embeddingScale?: undefined;
      readonly logitSoftCap?: undefined;
    };

export type ModelOptions = Ends & {
  readonly hiddenSize: number;
  readonly layers: readonly Layer[];
  readonly normEps?: number;
  /** After the last layer. Default: `rms('embedding_norm')`, LFM2's name for it. */
  readonly finalNorm?: Norm;
  /** Standard deviation of freshly made weights. */
  readonly initializerRange?: number;
  readonly contextLength?: number;
  readonly config?: Readonly<Record<string, unknown>>;
};

/** A block with its operators in their places; `prefix` stands before its norms' names. */
interface PlacedBlock {
  readonly operators: readonly PlacedOperator[];
  readonly norm: Norm | undefined;
  readonly postNorm: Norm | undefined;
  readonly aside: boolean;
  readonly prefix: string;
}

/** Features that operators at other depths take, by the operator that made them. */
type Taken = Map<PlacedOperator, Tensors>;

/** What leaves a layer besides its output. */
interface Aside {
  readonly taken: Taken;
  /** What operators observed, by the names of the parameters that it is for. */
  readonly seen: Map<string, Tensor>;
  readonly tap?: ForwardOptions['tap'] | undefined;
}

/**
 * A model from its layers. Errors: what an operator says of sizes that do not fit (`indivisible`), two parameters of one
 * name (`duplicate-parameter`), operators that cannot share what they are told to (`bad-sharing`).
 */
export function defineModel(options: ModelOptions): Model {
  const { hiddenSize, layers, normEps = 1e-5, initializerRange = 0.02, contextLength = 32_768, config } = options;
  const { finalNorm = rms('embedding_norm') } = options;
  const { encoder, head } = endsOf(options);
  const sizes = { hiddenSize };
  const placer = new Placer(sizes);
  placer.declare(encoder.parameters(sizes));
  const placed = layers.map((layer, depth) =>
    layer.blocks.map(({ operators, norm, postNorm, aside = false }): PlacedBlock => {
      const prefix = `model.layers.${depth}.`;
      if (norm) placer.declare(normParameters(norm, prefix, hiddenSize));
      const found = operators.map((operator) => placer.place(operator, depth));
      if (postNorm) placer.declare(normParameters(postNorm, prefix, hiddenSize));
      return { operators: found, norm, postNorm, aside, prefix };
    }),
  );
  placer.declare(normParameters(finalNorm, 'model.', hiddenSize));
  placer.declare(head.parameters(sizes));
  const leaders = new Set(placed.flat().flatMap(({ operators }) => operators.flatMap(({ leader }) => leader ?? [])));
  const parameters = Object.fromEntries(
    Object.entries(placer.parameters).map(([name, declaration]): [string, Parameter] => [
      name,
      { init: { std: initializerRange }, ...declaration },
    ]),
  );

  return {
    hiddenSize,
    normEps,
    finalNorm,
    initializerRange,
    contextLength,
    config,
    layers,
    links: placer.links,
    encoder,
    head,
    parameters,
    states: placer.states,
    forward(p, inputs, given, before = {}, { checkpoint: recompute = false, tap } = {}) {
      const after: Record<string, Tensor | undefined> = {};
      const taken: Taken = new Map();
      const observed: Record<string, Tensor> = {};
      let x = encoder.encode(p, inputs);
      const context = { ...given, embeddings: x };
      for (const blocks of placed) {
        const seen = new Map<string, Tensor>();
        const run = (from: Tensor): Tensor => {
          let [stream, beside]: [Tensor, Tensor | undefined] = [from, undefined];
          for (const block of blocks) {
            const input: Tensor = beside ? add(stream, beside) : stream;
            const [y, kept] = applyBlock(block, p, input, before, context, { taken, seen, tap });
            if (context.starts) Object.assign(after, kept);
            beside = block.aside ? y : undefined;
            if (!block.aside) stream = add(stream, y);
          }
          return stream;
        };
        const own = blocks.flatMap(({ operators }) => operators.filter((operator) => leaders.has(operator)));
        x = recompute ? recomputed(run, x, own, { taken, seen }) : run(x);
        // One parameter may stand at several depths.
        for (const [name, sum] of seen) observed[name] = observed[name] ? add(observed[name], sum) : sum;
      }
      return { hidden_BTD: applyNorm(finalNorm, 'model.', p, x, normEps), states: after, observed };
    },
    logits: (p, hidden) => logitsOf(head, p, hidden),
  };
}

/** postNorm(Σ operator(norm(x))), and the states that the block carries on, under the model's names. */
function applyBlock(
  { operators, norm, postNorm, prefix }: PlacedBlock,
  p: Tensors,
  x: Tensor,
  before: StateTensors,
  context: Context,
  { taken, seen, tap }: Aside,
): readonly [Tensor, StateTensors] {
  const input = norm ? applyNorm(norm, prefix, p, x, context.normEps) : x;
  const kept: Record<string, Tensor | undefined> = {};
  const outputs = operators.map((placed) => {
    const { operator, parameters, states, ownStates, leader, takes } = placed;
    const own = Object.fromEntries(Object.entries(parameters).map(([key, name]) => [key, take(p, name)]));
    const remembered = Object.fromEntries(
      Object.entries(states).flatMap(([key, name]) => [
        [key, before[name]],
        [`${key}Scales`, before[`${name}Scales`]],
      ]),
    );
    const theirs = (leader && taken.get(leader)) ?? {};
    const given = Object.fromEntries(takes.flatMap((name) => (theirs[name] ? [[name, theirs[name]]] : [])));
    const { y, state, features } = applyOperator(operator, own, input, remembered, context, given);
    taken.set(placed, features);
    tap?.(placed, input, y);
    const sums = context.counted && operator.observe ? operator.observe(features, context.counted) : {};
    for (const [key, sum] of Object.entries(sums)) if (sum) seen.set(parameters[key] ?? key, sum);
    for (const key of ownStates) kept[states[key] ?? key] = state[key];
    return y;
  });
  const [first = x, ...others] = outputs;
  const sum = others.reduce((a, b) => add(a, b), first);
  return [postNorm ? applyNorm(postNorm, prefix, p, sum, context.normEps) : sum, kept];
}

/** Runs a layer so that its backward pass recomputes it; what leaves it besides leaves it as outputs do. */
function recomputed(
  run: (x: Tensor) => Tensor,
  x: Tensor,
  leaders: readonly PlacedOperator[],
  { taken, seen }: Aside,
): Tensor {
  const returns: ((outside: Tensor) => void)[] = [];
  const [y, ...aside] = checkpoint((inputs) => {
    const outputs = inputs.map(run);
    for (const leader of leaders)
      for (const [name, tensor] of Object.entries(taken.get(leader) ?? {})) {
        returns.push((outside) => taken.set(leader, { ...taken.get(leader), [name]: outside }));
        outputs.push(tensor);
      }
    for (const [name, sum] of seen) {
      returns.push((outside) => seen.set(name, outside));
      outputs.push(sum);
    }
    return outputs;
  })([x]);
  if (!y) throw new LfmError('no-result', 'A recomputed layer gave no result.');
  aside.forEach((tensor, i) => returns[i]?.(tensor));
  return y;
}

function endsOf(options: ModelOptions): { encoder: Encoder; head: Head } {
  if (options.encoder) return options;
  const { vocabSize, tieEmbeddings = true, headBias = false, embeddingScale: scale = 1, logitSoftCap } = options;
  const cap = logitSoftCap === undefined ? {} : { softCap: logitSoftCap };
  const head = tieEmbeddings
    ? tiedHead({ vocabSize, ...cap })
    : classHead({ classes: vocabSize, bias: headBias, ...cap });
  return { encoder: tokenEmbedding({ vocabSize, scale }), head };
}
