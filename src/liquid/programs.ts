// A model as programs: its loss, its gradients, and one step of generation. Shapes: B rows, T tokens, V classes.
import type { ArrayType, DType, Dim, Program, Tensor } from '../tensor/index.ts';
import {
  add,
  cast,
  expandDims,
  gatherFrom,
  gradients,
  LfmError,
  multiplyDims,
  reshape,
  softmaxCrossEntropy,
  sub,
  trace,
  zerosLike,
} from '../tensor/index.ts';
import type { Context } from './context.ts';
import { createContext } from './context.ts';
import { asProduct } from './ends.ts';
import type { Model } from './model.ts';
import type { Tensors } from './parameter.ts';
import { take } from './parameter.ts';
import { parametersIn, parameterTypes } from './quantized.ts';
import { roundedInputs } from './rounding.ts';
import { scaleTensors } from './scaled-rows.ts';
import { bufferShape, stateDtype } from './state.ts';

type Types = Readonly<Record<string, ArrayType>>;

export interface LossOptions {
  readonly batch: Dim;
  readonly length: Dim;
  /** Element type of activations and products; parameters stay float32 and are rounded inside. */
  readonly dtype?: 'float32' | 'bfloat16';
  /** Recompute each layer in the backward pass: less memory, more arithmetic. */
  readonly checkpoint?: boolean;
  /** Into how many runs the tokens of the cross entropy are cut; batch * length must be a multiple. */
  readonly chunks?: number;
  /** Take `segments`, int32 [B, T]: documents packed into one row do not see each other. */
  readonly segments?: boolean;
  /** Element type of the parameters as they are given. Default: float32. */
  readonly stored?: 'float32' | 'bfloat16';
  /** What the loss is made of. Default: the head's own, of the labels. */
  readonly objective?: TrainingObjective;
}

/** What a model is trained on, where that is not its head's own loss. */
export interface TrainingObjective {
  /** What it takes besides the model's inputs and stays as it is, by name: a teacher's parameters. */
  readonly inputs: Types;
  /** Whether a parameter of the model is trained. */
  readonly trains: (name: string) => boolean;
  /** `loss` and `metrics` are sums over positions of the weights times something. */
  readonly loss: (call: LossCall) => {
    readonly loss: Tensor;
    readonly metrics: Tensors;
    readonly observed?: Tensors;
  };
}

/** What an objective may use. */
export interface LossCall {
  /** The model's parameters in the type of computation. */
  readonly p: Tensors;
  /** All inputs of the program. */
  readonly inputs: Tensors;
  readonly context: Context;
  readonly options: LossOptions;
}

function prefixed(prefix: string, types: Types): Types {
  return Object.fromEntries(Object.entries(types).map(([name, type]) => [`${prefix}${name}`, type]));
}

/** Those of `tensors` that `names` has a prefixed name for, by the bare names. */
function selected(tensors: Tensors, prefix: string, names: object): Record<string, Tensor> {
  return Object.fromEntries(Object.keys(names).map((name) => [name, take(tensors, `${prefix}${name}`)]));
}

/** Rows of logits that fit in about 4 MB, but enough that the weight gradient, written once a run, stays a small part. */
const LOGIT_BYTES = 4 * 2 ** 20;
const FEWEST_ROWS = 256;

/** As many equal runs as that size asks for, or the next fewer that divide. A number of tokens that is a symbol is not cut. */
export function defaultChunks(tokens: Dim, classes: number): number {
  if (typeof tokens !== 'number') return 1;
  const rows = Math.max(FEWEST_ROWS, Math.floor(LOGIT_BYTES / (4 * classes)));
  let chunks = Math.max(1, Math.ceil(tokens / rows));
  while (tokens % chunks !== 0) chunks--;
  return chunks;
}

function lossInputs(model: Model, { batch, length, segments = false, stored, objective }: LossOptions): Types {
  const perToken = (dtype: DType): ArrayType => ({ dtype, shape: [batch, length] });
  return {
    ...parameterTypes(model, stored),
    ...model.encoder.inputs(batch, length),
    labels: model.head.objective?.labels(batch, length) ?? perToken('int32'),
    weights: perToken('float32'),
    ...(segments && { segments: perToken('int32') }),
    ...objective?.inputs,
  };
}

/** The context of a pass over whole rows. */
export function lossContext(model: Model, inputs: Tensors, { batch, length }: LossOptions, observing = false): Context {
  const { segments, time_steps: timeSteps } = inputs;
  return createContext({
    batch,
    length,
    normEps: model.normEps,
    segments,
    timeSteps,
    ...(observing && { counted: take(inputs, 'weights') }),
  });
}

/** Parameters in the type of computation; `prefix` stands before their names among the inputs. */
export function computedIn(
  model: Model,
  inputs: Tensors,
  dtype: DType = 'float32',
  prefix = '',
): Record<string, Tensor> {
  const given = prefix
    ? Object.fromEntries(
        Object.entries(inputs).flatMap(([name, tensor]) =>
          name.startsWith(prefix) ? [[name.slice(prefix.length), tensor]] : [],
        ),
      )
    : inputs;
  // What changes by small steps of a rule is never rounded; an adapter's factors and base are, but not their sum.
  const rounded = Object.fromEntries(
    Object.entries(model.parameters).flatMap(([name, { rule, quantized }]) =>
      quantized ? [] : [[name, cast(take(given, name), rule ? 'float32' : dtype)]],
    ),
  );
  const stored = parametersIn(model, { ...given, ...rounded });
  const unpacked = Object.fromEntries(
    Object.entries(model.parameters).flatMap(([name, { quantized, lowRank }]) =>
      quantized && !lowRank ? [[name, cast(take(stored, name), dtype)]] : [],
    ),
  );
  return { ...stored, ...unpacked };
}

/** The loss, what is told besides and, if asked for, what operators observed at positions whose weight is not 0. */
function lossOf(
  model: Model,
  inputs: Tensors,
  options: LossOptions,
  observing = false,
): { readonly loss: Tensor; readonly metrics?: Tensors; readonly observed?: Tensors } {
  const { batch, length, dtype, checkpoint = false, objective: training } = options;
  const p = computedIn(model, inputs, dtype);
  const context = lossContext(model, inputs, options, observing);
  if (training) return training.loss({ p, inputs, context, options });
  const { hidden_BTD, observed = {} } = model.forward(p, inputs, context, undefined, { checkpoint });
  const tokens = multiplyDims(batch, length);
  const flat = (name: string) => {
    const given = take(inputs, name);
    return reshape(given, [tokens, ...given.shape.slice(2)]);
  };
  const hidden = reshape(hidden_BTD, [tokens, model.hiddenSize]);
  const { objective, softCap } = model.head;
  if (objective) return { loss: objective.loss(model.logits(p, hidden), flat('labels'), flat('weights')), observed };
  const chunks = options.chunks ?? defaultChunks(tokens, model.head.classes);
  const [rows, matrix] = asProduct(model.head, p, hidden);
  return { loss: softmaxCrossEntropy(rows, matrix, flat('labels'), flat('weights'), { chunks, softCap }), observed };
}

/**
 * Inputs: every parameter (float32), the encoder's inputs (`tokens`, int32 [B, T]), `labels` int32 [B, T] (the class each
 * position should give: for language, the next token; 0 where it does not matter), `weights` float32 [B, T], and `segments`
 * if asked for. Output: `loss`, the sum over positions of weight * -log p(label), in nats. A head with an objective of its own
 * says what its `labels` and loss are.
 *
 * It is a sum, so that a batch may be cut into parts: give weights of 1 / (positions that count in the whole batch), 0 where
 * a position does not count, and the losses and gradients of the parts add up to the whole batch's mean.
 * Errors: `indivisible` where `chunks` does not divide batch * length.
 */
export function lossProgram(model: Model, options: LossOptions): Program {
  return trace('loss', lossInputs(model, options), (inputs) => ({
    loss: lossOf(model, roundedInputs(model, inputs), options).loss,
  }));
}

/**
 * The loss program with an output `gradient.NAME` (float32) for every parameter that is not frozen; for one with a rule of its own it holds, in a
 * gradient's place, what the parameter's operator observed over positions whose weight is not 0. With `accumulate`, inputs `total.NAME` are
 * added to them and give up their memory to them. An objective may train some parameters only, and tells `metric.NAME`s.
 * Errors: `frozen-weight` for packed matrices that are to be trained.
 */
export function gradientProgram(model: Model, options: LossOptions & { readonly accumulate?: boolean }): Program {
  const { accumulate = false, objective } = options;
  const isTrained = (name: string) => !model.parameters[name]?.frozen && (objective?.trains(name) ?? true);
  const names = Object.keys(model.parameters).filter(isTrained);
  const packed = names.find((name) => model.parameters[name]?.quantized);
  if (packed !== undefined)
    throw new LfmError('frozen-weight', `${packed} is packed, and so cannot be trained: load the model as floats.`);
  const totals = () => {
    const types = parameterTypes(model);
    return prefixed('total.', Object.fromEntries(names.flatMap((name) => (types[name] ? [[name, types[name]]] : []))));
  };
  const types = { ...lossInputs(model, options), ...(accumulate && totals()) };
  const body = (given: Tensors) => {
    const inputs = roundedInputs(model, given);
    const { loss, metrics = {}, observed } = lossOf(model, inputs, options, true);
    const trained = names.filter((name) => !model.parameters[name]?.rule);
    const found = gradients(
      loss,
      trained.map((name) => take(inputs, name)),
    );
    const changes: Readonly<Record<string, Tensor | undefined>> = {
      ...observed,
      ...Object.fromEntries(trained.map((name, index) => [name, found[index]])),
    };
    const outputs = names.map((name) => {
      const gradient = changes[name] ?? zerosLike(take(inputs, name));
      return [`gradient.${name}`, accumulate ? add(take(inputs, `total.${name}`), gradient) : gradient] as const;
    });
    const told = Object.entries(metrics).map(([name, value]) => [`metric.${name}`, value] as const);
    return { loss, ...Object.fromEntries([...told, ...outputs]) };
  };
  const donations = accumulate ? Object.fromEntries(names.map((name) => [`total.${name}`, `gradient.${name}`])) : {};
  return trace('gradients', types, body, { donations });
}

export interface StateOptions {
  readonly batch: Dim;
  /** Most tokens that a row may hold; a symbol where one program is to serve states of any size. */
  readonly capacity: Dim;
  readonly dtype?: 'float32' | 'bfloat16' | 'float16';
}

/** Types of the state buffers, by the names of `model.states`; they begin as zeros. */
export function stateTypes(model: Model, { batch, capacity, dtype = 'float32' }: StateOptions): Types {
  return Object.fromEntries(
    Object.entries(model.states).map(([name, state]) => [
      name,
      { dtype: stateDtype(state, dtype), shape: bufferShape(state, batch, capacity) },
    ]),
  );
}

export interface StepOptions extends StateOptions {
  readonly length: Dim;
  /** Logits of all positions, [B, T, V], for scoring a text or verifying a guess. */
  readonly allLogits?: boolean;
  /** Take `positions`, int32 [B, S], this S: logits [B, S, V] after these of the T tokens, in place of the last valid one. */
  readonly positions?: Dim;
  /** In place of logits the hidden states that they would be made of, [B, D], [B, T, D] or [B, S, D], as `hidden`. */
  readonly hidden?: boolean;
}

/**
 * T more tokens for each of B rows: prefill and decoding alike. Inputs: every parameter and `state.NAME` (both of `dtype`),
 * the encoder's inputs (`tokens`, int32 [B, T]), `starts` int32 [B] (tokens that the row's state already holds), `lengths`
 * int32 [B] (how many of the T are valid, from the front). Outputs: `logits` float32 [B, V] after each row's last valid token
 * or, with `allLogits`, [B, T, V], or with `positions` [B, S, V]; and `state.NAME`, which take over their inputs' memory.
 *
 * What is not valid leaves no trace that a later step could see: a row of length 0 stays as it was (its logits mean nothing).
 * starts + lengths must not exceed the capacity: rows past it are not kept.
 * Errors: `bad-capacity`; `unbound-symbol` where windows or positions go by a capacity that is a symbol.
 */
export function stepProgram(model: Model, options: StepOptions): Program {
  const { batch, length, dtype = 'float32', allLogits = false, positions, hidden: raw = false } = options;
  if (typeof options.capacity === 'number' && options.capacity < 1)
    throw new LfmError('bad-capacity', `A state for ${options.capacity} tokens was asked for; expected 1 or more.`);
  const perRow: ArrayType = { dtype: 'int32', shape: [batch] };
  const types = {
    ...parameterTypes(model, dtype),
    ...model.encoder.inputs(batch, length),
    starts: perRow,
    lengths: perRow,
    ...(positions !== undefined && { positions: { dtype: 'int32', shape: [batch, positions] } as const }),
    ...prefixed('state.', stateTypes(model, options)),
  };
  const body = (inputs: Tensors) => {
    const span = { starts: take(inputs, 'starts'), lengths: take(inputs, 'lengths'), capacity: options.capacity };
    const context = createContext({ batch, length, normEps: model.normEps, span, timeSteps: inputs.time_steps });
    const p = parametersIn(model, inputs, dtype);
    const before = { ...selected(inputs, 'state.', model.states), ...scaleTensors(model) };
    const { hidden_BTD, states } = model.forward(p, inputs, context, before);
    const hidden = inputs.positions
      ? gatherFrom(hidden_BTD, inputs.positions, { axis: 1, batchDims: 1 })
      : allLogits
        ? hidden_BTD
        : lastValid(hidden_BTD, span.lengths);
    const kept = Object.keys(model.states).map(
      (name) => [`state.${name}`, states[name] ?? take(inputs, `state.${name}`)] as const,
    );
    const result = raw ? { hidden: cast(hidden, 'float32') } : { logits: cast(model.logits(p, hidden), 'float32') };
    return { ...result, ...Object.fromEntries(kept) };
  };
  const donations = Object.fromEntries(Object.keys(model.states).map((name) => [`state.${name}`, `state.${name}`]));
  return trace('step', types, body, { donations });
}

/** Of hidden states [B, T, D], each row's at its last valid token: [B, D]. */
function lastValid(hidden_BTD: Tensor, lengths: Tensor): Tensor {
  const picked = gatherFrom(hidden_BTD, expandDims(sub(lengths, 1), 1), { axis: 1, batchDims: 1 });
  return reshape(picked, [hidden_BTD.dim(0), hidden_BTD.dim(2)]);
}
