// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) with clipping by the global norm, as one program over all parameters.
import type { ArrayType, Program, Tensor } from '../tensor/index.ts';
import { add, div, full, minimum, mul, sqrt, sub, sum, trace } from '../tensor/index.ts';

export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Decoupled decay, in units of the learning rate, of the parameters that decay. */
  readonly weightDecay: number;
  /** Largest norm of all gradients together; larger ones are scaled down to it. */
  readonly maxNorm: number;
}

export const adamWDefaults: AdamWOptions = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, maxNorm: 1 };

/** How a parameter is updated: by AdamW, or by a rule of its own (see Parameter). */
export interface UpdatedType extends ArrayType {
  readonly shape: readonly number[];
  readonly decay: boolean;
  readonly rule?: (value: Tensor, observed: Tensor) => Tensor;
}

/** A model's parameters as the update takes them; frozen ones it does not take. */
export function updatedTypes(
  parameters: Readonly<Record<string, Omit<UpdatedType, 'dtype'> & { readonly frozen?: true }>>,
): Readonly<Record<string, UpdatedType>> {
  return Object.fromEntries(
    Object.entries(parameters).flatMap(([name, { shape, decay, rule, frozen }]) =>
      frozen ? [] : [[name, { dtype: 'float32', shape, decay, ...(rule && { rule }) }]],
    ),
  );
}

const scalar: ArrayType = { dtype: 'float32', shape: [] };

/** Inputs that change from step to step: the learning rate, and 1 - beta^t for both moments. */
export function updateScalars(options: AdamWOptions, step: number, learningRate: number): Record<string, number> {
  return { learningRate, correction1: 1 - options.beta1 ** step, correction2: 1 - options.beta2 ** step };
}

/**
 * The update program. `second` is kept as AdamW's second moment times (1 - beta1)² / (1 - beta2), so that both moments take
 * the same scaled gradient: one walk over it less. Inputs: NAME, first.NAME, second.NAME (donated) and gradient.NAME for every parameter, and the scalars
 * of updateScalars. A parameter with a rule follows it, from what stands in its gradient's place; its moments stay as they are
 * and it has no part in the norm. Outputs: NAME, first.NAME, second.NAME, and `norm`, the gradients' norm before clipping.
 */
export function updateProgram(
  parameters: Readonly<Record<string, UpdatedType>>,
  options: AdamWOptions = adamWDefaults,
): Program {
  const { beta1, beta2, epsilon, weightDecay, maxNorm } = options;
  const names = Object.keys(parameters);
  const inputs: Record<string, ArrayType> = { learningRate: scalar, correction1: scalar, correction2: scalar };
  const donations: Record<string, string> = {};
  for (const [name, { dtype, shape }] of Object.entries(parameters)) {
    for (const key of [name, `first.${name}`, `second.${name}`]) {
      inputs[key] = { dtype, shape };
      donations[key] = key;
    }
    inputs[`gradient.${name}`] = { dtype, shape };
  }
  const body = (given: Readonly<Record<string, Tensor>>) => {
    const read = (name: string): Tensor => given[name] ?? full('float32', [], Number.NaN);
    const trained = names.filter((name) => !parameters[name]?.rule);
    const squares = trained.map((name) => {
      const g = read(`gradient.${name}`);
      return sum(
        mul(g, g),
        g.shape.map((_, axis) => axis),
      );
    });
    const norm = sqrt(squares.reduce((a, b) => add(a, b)));
    const clip = minimum(div(maxNorm, add(norm, 1e-6)), 1);
    const rate = read('learningRate');
    // All scalar factors are gathered first, so that each big array is walked as few times as possible:
    // p - rate/c1 * m / (sqrt(v/c2) + eps) = p - m / (sqrt(v) * a + b).
    const perRate = div(read('correction1'), rate);
    const a = div(mul(perRate, Math.sqrt(1 - beta2) / (1 - beta1)), sqrt(read('correction2')));
    const b = mul(perRate, epsilon);
    const firstScale = mul(clip, 1 - beta1);
    const keep = sub(1, mul(rate, weightDecay));
    const outputs: Record<string, Tensor> = {};
    for (const [name, { decay, rule }] of Object.entries(parameters)) {
      const [p, g] = [read(name), read(`gradient.${name}`)];
      if (rule) {
        outputs[name] = rule(p, g);
        for (const moment of ['first', 'second']) outputs[`${moment}.${name}`] = read(`${moment}.${name}`);
        continue;
      }
      const scaled = mul(g, firstScale);
      const first = add(mul(read(`first.${name}`), beta1), scaled);
      const second = add(mul(read(`second.${name}`), beta2), mul(scaled, scaled));
      const kept = decay && weightDecay ? mul(p, keep) : p;
      outputs[name] = sub(kept, div(first, add(mul(sqrt(second), a), b)));
      outputs[`first.${name}`] = first;
      outputs[`second.${name}`] = second;
    }
    return { ...outputs, norm };
  };
  return trace('adamw', inputs, body, { donations });
}
