// What tokens of given texts cost a model, in two programs: hidden states of whole rows, and scores at some of their positions.
// The states stay on the device between them, and of the scores two numbers a position leave it.
// Shapes: B rows of T tokens, M = B * T, N positions that are scored, D features, V classes.
import { asProduct } from '../../liquid/ends.ts';
import type { Model } from '../../liquid/index.ts';
import { createContext, parameterTypes, stateTypes, stepProgram } from '../../liquid/index.ts';
import { take } from '../../liquid/parameter.ts';
import { parametersIn } from '../../liquid/quantized.ts';
import type { ArrayType, Dim, Program, Tensor } from '../../tensor/index.ts';
import {
  add,
  cast,
  dotGeneral,
  embed,
  exp,
  expandDims,
  gatherFrom,
  ge,
  log,
  max,
  mul,
  multiplyDims,
  reshape,
  sub,
  sum,
  tanh,
  trace,
} from '../../tensor/index.ts';
import { inline } from '../../tensor/tracer.ts';

export interface LikelihoodOptions {
  /** Of parameters and arithmetic; scores and their softmax are float32 whatever it is. */
  readonly dtype: 'float32' | 'bfloat16';
}

/**
 * Inputs: every parameter (of `dtype`) and the encoder's inputs for B rows of T tokens. Output: `hidden` of `dtype` [B * T, D], after
 * the last norm. Operators are causal: what stands behind a row's tokens changes none of its states.
 */
export function hiddenProgram(
  model: Model,
  { batch, length, dtype }: LikelihoodOptions & { readonly batch: Dim; readonly length: Dim },
): Program {
  const types = { ...parameterTypes(model, dtype), ...model.encoder.inputs(batch, length) };
  return trace('hidden', types, (inputs) => {
    const context = createContext({ batch, length, normEps: model.normEps });
    const { hidden_BTD } = model.forward(parametersIn(model, inputs, dtype), inputs, context);
    return { hidden: reshape(hidden_BTD, [multiplyDims(batch, length), model.hiddenSize]) };
  });
}

/**
 * `stepProgram` with its hidden states as rows: inputs `tokens` [B, T], `starts` and `lengths` [B], `state.NAME` of `capacity`; outputs
 * `hidden` float32 [B * T, D] and `state.NAME`.
 */
export function spanProgram(
  model: Model,
  { batch, length, capacity }: { readonly batch: Dim; readonly length: Dim; readonly capacity: number },
): Program {
  const step = stepProgram(model, { batch, length, capacity, allLogits: true, hidden: true });
  const types = Object.fromEntries(step.inputs.map(({ name, value }) => [name, value]));
  const body = (inputs: Readonly<Record<string, Tensor>>) => {
    const results = inline(
      step,
      step.inputs.map(({ name }) => take(inputs, name)),
    );
    const found = Object.fromEntries(step.outputs.flatMap(({ name }, i) => (results[i] ? [[name, results[i]]] : [])));
    return { ...found, hidden: reshape(take(found, 'hidden'), [multiplyDims(batch, length), model.hiddenSize]) };
  };
  return trace('span', types, body, { donations: step.donations });
}

/** States `state.NAME` of R rows, each as that of row `parents` [R] int32 of B. */
export function forkProgram(model: Model, capacity: number): Program {
  const states = Object.entries(stateTypes(model, { batch: 'B', capacity }));
  const types: Record<string, ArrayType> = {
    ...Object.fromEntries(states.map(([name, type]) => [`state.${name}`, type])),
    parents: { dtype: 'int32', shape: ['R'] },
  };
  return trace('fork', types, (inputs) =>
    Object.fromEntries(
      states.map(([name]) => [`state.${name}`, embed(take(inputs, 'parents'), take(inputs, `state.${name}`))]),
    ),
  );
}

/** Logits float32 [N, V]: of bfloat16 they are sums in float32 that were never rounded to bfloat16. */
function wideLogits(model: Model, p: Readonly<Record<string, Tensor>>, hidden_ND: Tensor): Tensor {
  if (hidden_ND.dtype === 'float32') return model.logits(p, hidden_ND);
  const [rows, matrix] = asProduct(model.head, p, hidden_ND);
  const product = dotGeneral(rows, matrix, {
    lhsBatching: [],
    rhsBatching: [],
    lhsContracting: [1],
    rhsContracting: [1],
    preferredType: 'float32',
  });
  const { softCap } = model.head;
  return softCap === undefined ? product : mul(tanh(mul(product, 1 / softCap)), softCap);
}

/**
 * Inputs: every parameter, `hidden` [M, D] (both of `dtype`), `places` int32 [N] (rows of `hidden`), `labels` int32 [N]. Outputs:
 * `logprobs` float32 [N], ln p(label), and `greedy` float32 [N], 1 where no other class has a higher score.
 */
export function scoreProgram(
  model: Model,
  { states, positions, dtype }: LikelihoodOptions & { readonly states: Dim; readonly positions: Dim },
): Program {
  const perPosition = { dtype: 'int32', shape: [positions] } as const;
  const types = {
    ...parameterTypes(model, dtype),
    hidden: { dtype, shape: [states, model.hiddenSize] },
    places: perPosition,
    labels: perPosition,
  };
  return trace('scores', types, (inputs) => {
    const { hidden, places, labels, ...rest } = inputs;
    const logits_NV = wideLogits(model, parametersIn(model, rest, dtype), embed(places, hidden));
    const top_N = max(logits_NV, [1]);
    const total_N = sum(exp(sub(logits_NV, expandDims(top_N, 1))), [1]);
    const own_N = gatherFrom(logits_NV, labels, { axis: 1, batchDims: 1 });
    return { logprobs: sub(own_N, add(top_N, log(total_N))), greedy: cast(ge(own_N, top_N), 'float32') };
  });
}
