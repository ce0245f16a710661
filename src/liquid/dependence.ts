// What depends on what inside an operator, read off its traced program: which parameters make a feature, which features and
// states an output or a next state is made of. Sharing is derived from this, so that no operator has to declare it.
import type { ArrayType, Program, Tensor, Value } from '../tensor/index.ts';
import { expanded, trace } from '../tensor/index.ts';
import { createContext } from './context.ts';
import type { Operator, Sizes } from './operator.ts';
import { bufferShape } from './state.ts';

/** By name of an output, the names of the inputs that it depends on. */
type Reach = ReadonlyMap<string, ReadonlySet<string>>;

export interface Dependence {
  /** Of `feature.NAME` and `state.KEY` after featurize: `parameter.KEY`, `state.KEY`, `x`. */
  readonly featurize: Reach;
  /** Of `y` and `state.KEY` after mix: `parameter.KEY`, `feature.NAME`, `state.KEY` as featurize left it. */
  readonly mix: Reach;
  /** Types of the features for one row of a few tokens. */
  readonly features: Readonly<Record<string, ArrayType>>;
}

const [BATCH, LENGTH, CAPACITY] = [1, 8, 16];

function prefixed<T>(prefix: string, values: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [`${prefix}${key}`, value]));
}

function under(prefix: string, values: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
  const found = Object.entries(values).filter(([key]) => key.startsWith(prefix));
  return Object.fromEntries(found.map(([key, value]) => [key.slice(prefix.length), value]));
}

function present(values: Readonly<Record<string, Tensor | undefined>>): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(values).flatMap(([key, value]) => (value ? [[key, value]] : [])));
}

/** Traces both halves on a few tokens with state, in float32. */
export function dependenceOf(operator: Operator, sizes: Sizes): Dependence {
  const parameters = prefixed(
    'parameter.',
    Object.fromEntries(
      Object.entries(operator.parameters(sizes)).map(([key, { shape }]) => [key, { dtype: 'float32', shape } as const]),
    ),
  );
  const states = prefixed(
    'state.',
    Object.fromEntries(
      Object.entries(operator.state(sizes)).map(([key, state]) => {
        const shape = bufferShape(state, BATCH, CAPACITY);
        return [key, { dtype: 'float32', shape } as const];
      }),
    ),
  );
  const perRow: ArrayType = { dtype: 'int32', shape: [BATCH] };
  const stream: ArrayType = { dtype: 'float32', shape: [BATCH, LENGTH, sizes.hiddenSize] };
  const common = { ...parameters, ...states, starts: perRow, lengths: perRow, embeddings: stream };
  const contextOf = ({ starts, lengths, embeddings }: Readonly<Record<string, Tensor>>) => ({
    ...createContext({
      batch: BATCH,
      length: LENGTH,
      normEps: 1e-5,
      ...(starts && lengths && { span: { starts, lengths } }),
    }),
    ...(embeddings && { embeddings }),
  });
  const first = trace('featurize', { ...common, x: stream }, (inputs: Readonly<Record<string, Tensor>>) => {
    const { x } = inputs;
    if (!x) return {};
    const [features, between] = operator.featurize(
      under('parameter.', inputs),
      x,
      under('state.', inputs),
      contextOf(inputs),
    );
    return { ...prefixed('feature.', features), ...prefixed('state.', present(between)) };
  });
  const made = first.outputs.filter(({ name }) => name.startsWith('feature.'));
  const features = Object.fromEntries(made.map(({ name, value: { dtype, shape } }) => [name, { dtype, shape }]));
  const second = trace('mix', { ...common, ...features }, (inputs: Readonly<Record<string, Tensor>>) => {
    const [y, after] = operator.mix(
      under('parameter.', inputs),
      under('feature.', inputs),
      under('state.', inputs),
      contextOf(inputs),
    );
    return { y, ...prefixed('state.', present(after)) };
  });
  return {
    featurize: reachOf(first),
    mix: reachOf(second),
    features: Object.fromEntries(Object.entries(features).map(([name, type]) => [name.slice('feature.'.length), type])),
  };
}

/** Composites are looked into: one of their results need not depend on all of their operands. */
function reachOf(source: Program): Reach {
  const program = expanded(source, () => false);
  const reach = new Map<Value, ReadonlySet<string>>();
  for (const { name, value } of program.inputs) reach.set(value, new Set([name]));
  const none: ReadonlySet<string> = new Set();
  for (const { operands, results } of program.operations) {
    const all = new Set(operands.flatMap((operand) => [...(reach.get(operand) ?? none)]));
    for (const result of results) reach.set(result, all);
  }
  return new Map(program.outputs.map(({ name, value }) => [name, reach.get(value) ?? none]));
}
