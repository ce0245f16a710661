// Decoding that never leaves the device: many tokens of many rows in one program, for accelerators, where a launch a token
// costs more than the token. Shapes: B rows, N tokens of each, V classes.
import type { Model } from '../liquid/index.ts';
import type { StateOptions } from '../liquid/programs.ts';
import { stateTypes, stepProgram } from '../liquid/index.ts';
import type { ArrayType, Program, Tensor } from '../tensor/index.ts';
import {
  add,
  cast,
  concatenate,
  constant,
  eq,
  expandDims,
  full,
  iota,
  LfmError,
  log,
  lt,
  max,
  min,
  mul,
  randomUniform,
  reshape,
  scan,
  select,
  sub,
  trace,
  transpose,
  xor,
} from '../tensor/index.ts';
import { inline } from '../tensor/tracer.ts';

export interface RolloutOptions extends StateOptions {
  readonly batch: number;
  /** Tokens that one run decodes for each row. */
  readonly steps: number;
  /** 0: the likeliest token. Above: drawn from softmax(logits / temperature), by the Gumbel-max trick. */
  readonly temperature?: number;
  /** With a temperature: only tokens with at least this share of the likeliest one's probability are drawn. Default 0. */
  readonly minP?: number;
}

/** The first index of the largest value of each row: [B, V] -> [B] int32. */
function argmax(scores: Tensor): Tensor {
  const classes = Number(scores.dim(-1));
  const isTop = eq(scores, expandDims(max(scores, [-1]), -1));
  const index = iota('int32', scores.shape, 1);
  return min(select(isTop, index, full('int32', scores.shape, classes - 1)), [-1]);
}

/** Uniform numbers in (0, 1) of a step: equal for equal keys and steps on every engine. Each run wants a key of its own. */
function noiseOf(key: Tensor, step: Tensor, shape: readonly number[]): Tensor {
  const word = reshape(cast(step, 'uint32'), [1]);
  const stepped = xor(key, concatenate([constant('uint32', [1], Uint32Array.of(0)), word], 0));
  return add(mul(randomUniform(stepped, shape), 1 - 2 ** -24), 2 ** -25);
}

/** Scores [B, V] without those of tokens with less than `minP` of the likeliest one's probability. */
function likely(scores: Tensor, minP: number): Tensor {
  if (minP === 0) return scores;
  const least = add(expandDims(max(scores, [-1]), -1), Math.log(minP));
  return select(lt(scores, least), full(scores.dtype, scores.shape, -1e30), scores);
}

/**
 * Inputs: every parameter and `state.NAME` (of `dtype`), `token` int32 [B] (each row's newest, not yet in the state), `starts`
 * int32 [B] (tokens in the state) and, with a temperature, `key` uint32 [2]. Outputs: `tokens` int32 [B, N], `token`, `starts`
 * and `state.NAME` as they go into the next run. Rows do not stop by themselves: cut each at its end. starts + N must not
 * exceed the capacity. Errors: `bad-temperature`, `bad-min-p`.
 */
export function rolloutProgram(model: Model, options: RolloutOptions): Program {
  const { batch, steps, temperature = 0, minP = 0 } = options;
  if (!(temperature >= 0 && temperature < Infinity))
    throw new LfmError('bad-temperature', `temperature: expected 0 or more; found ${temperature}.`);
  if (!(minP >= 0 && minP <= 1)) throw new LfmError('bad-min-p', `minP: expected a share from 0 to 1; found ${minP}.`);
  const one = stepProgram(model, { ...options, length: 1 });
  const states = Object.keys(stateTypes(model, options)).map((name) => `state.${name}`);
  const perRow: ArrayType = { dtype: 'int32', shape: [batch] };
  const kept = one.inputs.filter(({ name }) => !['tokens', 'lengths', 'starts'].includes(name));
  const types: Record<string, ArrayType> = {
    ...Object.fromEntries(kept.map(({ name, value }) => [name, value])),
    token: perRow,
    starts: perRow,
    ...(temperature > 0 && { key: { dtype: 'uint32', shape: [2] } as const }),
  };
  const body = (inputs: Readonly<Record<string, Tensor>>) => {
    const read = (name: string, from: Readonly<Record<string, Tensor>> = inputs): Tensor => {
      const tensor = from[name];
      if (tensor) return tensor;
      throw new LfmError(
        'missing-input',
        `rollout: the model asks for the input "${name}", which decoding cannot give.`,
      );
    };
    const init = [read('token'), read('starts'), ...states.map((name) => read(name))];
    const { carries, outputs } = scan(steps, init, [], (index, [token, starts, ...before]) => {
      if (!token || !starts) return { carries: [], outputs: [] };
      const given: Record<string, Tensor> = {
        ...Object.fromEntries(states.map((name, i) => [name, before[i] ?? read(name)])),
        tokens: expandDims(token, 1),
        starts,
        lengths: full('int32', [batch], 1),
      };
      const results = inline(
        one,
        one.inputs.map(({ name }) => given[name] ?? read(name)),
      );
      const found = Object.fromEntries(one.outputs.flatMap(({ name }, i) => (results[i] ? [[name, results[i]]] : [])));
      const logits = read('logits', found);
      const shape = [batch, model.head.classes];
      const scores =
        temperature > 0
          ? sub(likely(mul(logits, 1 / temperature), minP), log(mul(log(noiseOf(read('key'), index, shape)), -1)))
          : logits;
      const next = argmax(scores);
      return { carries: [next, add(starts, 1), ...states.map((name) => read(name, found))], outputs: [next] };
    });
    const [token = read('token'), starts = read('starts'), ...after] = carries;
    const [drawn = read('token')] = outputs;
    return {
      tokens: transpose(drawn, [1, 0]),
      token,
      starts,
      ...Object.fromEntries(states.map((name, i) => [name, after[i] ?? read(name)])),
    };
  };
  const donated = ['token', 'starts', ...states];
  return trace('rollout', types, body, { donations: Object.fromEntries(donated.map((name) => [name, name])) });
}
