// Low-rank adapters of a model's matrices (LoRA: Hu et al. 2021, arXiv 2106.09685): what they add to its parameters.
import { LfmError } from '../tensor/error.ts';
import type { Model } from './model.ts';
import type { Parameter } from './parameter.ts';

/** How one matrix is changed: by scale * B A, of A [rank, columns] and B [rows, rank]. */
export interface LowRank {
  readonly rank: number;
  readonly scale: number;
}

/** By the names of the matrices. */
export type LowRanks = Readonly<Record<string, LowRank>>;

/** What the two factors of a matrix are called: peft's names under ours. */
export function factorNames(parameter: string): { readonly a: string; readonly b: string } {
  const module = parameter.replace(/\.weight$/, '');
  return { a: `${module}.lora_A.weight`, b: `${module}.lora_B.weight` };
}

/**
 * The model with the named matrices changed, and the factors among its parameters: A begins as peft begins it (He's uniform
 * numbers), B as zeros, so that a fresh adapter changes nothing. All other parameters are frozen.
 * Errors: `bad-adapter` for a parameter that is absent or no matrix.
 */
export function withLowRank(model: Model, changes: LowRanks): Model {
  const parameters = Object.entries(model.parameters).map(([name, parameter]): [string, Parameter] => [
    name,
    { ...parameter, frozen: true, ...(changes[name] && { lowRank: changes[name] }) },
  ]);
  const factors = Object.entries(changes).flatMap(([name, { rank }]): [string, Parameter][] => {
    const found = model.parameters[name];
    const [rows = 0, columns = 0, ...more] = found?.shape ?? [];
    if (!found || columns === 0 || more.length > 0)
      throw new LfmError(
        'bad-adapter',
        `An adapter changes matrices; ${name} is ${found ? `[${found.shape.join(', ')}]` : 'no parameter of the model'}.`,
      );
    const [rowAxis = '', columnAxis = ''] = found.axes;
    const { a, b } = factorNames(name);
    return [
      [a, { shape: [rank, columns], axes: ['rank', columnAxis], init: { uniform: columns ** -0.5 }, decay: true }],
      [b, { shape: [rows, rank], axes: [rowAxis, 'rank'], init: { value: 0 }, decay: true }],
    ];
  });
  return { ...model, parameters: { ...Object.fromEntries(parameters), ...Object.fromEntries(factors) } };
}
