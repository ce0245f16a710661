// A model over whole sequences at once: what its head gives at every position, and nothing remembered.
import type { Dim, Program } from '../tensor/index.ts';
import { cast, trace } from '../tensor/index.ts';
import { createContext } from './context.ts';
import type { Model } from './model.ts';
import { parametersIn, parameterTypes } from './quantized.ts';

/**
 * Inputs: every parameter (float32) and the encoder's inputs for B rows of T steps. Output: `outputs`, float32 [B, T, classes].
 * Operators are causal, so that the outputs at a row's valid steps, from its front, do not depend on what stands after them.
 */
export function outputProgram(model: Model, { batch, length }: { readonly batch: Dim; readonly length: Dim }): Program {
  return trace('outputs', { ...parameterTypes(model), ...model.encoder.inputs(batch, length) }, (inputs) => {
    const context = createContext({ batch, length, normEps: model.normEps, timeSteps: inputs.time_steps });
    const p = parametersIn(model, inputs);
    const { hidden_BTD } = model.forward(p, inputs, context);
    return { outputs: cast(model.logits(p, hidden_BTD), 'float32') };
  });
}
