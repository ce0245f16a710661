// A training step as one program: its gradients never leave it, so that a compiler need not keep them all at once.
import type { ArrayType, Program, Tensor } from '../tensor/index.ts';
import { LfmError, trace } from '../tensor/index.ts';
import { inline } from '../tensor/tracer.ts';

type Tensors = Readonly<Record<string, Tensor>>;

/**
 * Of a gradient program and an update program (updateProgram). Inputs: those of both but the gradients. Outputs: `loss` and
 * what the gradient program tells besides, and those of the update, with its donations.
 */
export function fusedStepProgram(gradients: Program, update: Program): Program {
  const types: Record<string, ArrayType> = {};
  for (const { name, value } of [...gradients.inputs, ...update.inputs])
    if (!name.startsWith('gradient.')) types[name] = value;
  return trace(
    'train-step',
    types,
    (inputs) => {
      const found = call(gradients, inputs);
      const told = Object.entries(found).filter(([name]) => !name.startsWith('gradient.'));
      return { ...Object.fromEntries(told), ...call(update, { ...inputs, ...found }) };
    },
    { donations: update.donations },
  );
}

/** The outputs of a program, traced into the present one. */
function call(program: Program, given: Tensors): Record<string, Tensor> {
  const operands = program.inputs.map(({ name }) => {
    const tensor = given[name];
    if (!tensor) throw new LfmError('bad-input', `${program.name} needs an input "${name}".`);
    return tensor;
  });
  const results = inline(program, operands);
  return Object.fromEntries(
    program.outputs.flatMap(({ name }, index) => (results[index] ? [[name, results[index]] as const] : [])),
  );
}
