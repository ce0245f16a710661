// Models whose matrices are held packed or changed by an adapter: what programs then take, and the tensors that operators see.
import type { Activations, ArrayType, DType, QuantizedForm, Tensor } from '../tensor/index.ts';
import { adapted, cast, QuantizedTensor, quantizedTypes } from '../tensor/index.ts';
import { factorNames } from './lora.ts';
import type { Model } from './model.ts';
import type { Parameter } from './parameter.ts';
import { take } from './parameter.ts';

/** By parameter name. */
export type QuantizedForms = Readonly<Record<string, QuantizedForm>>;

/** The model with the parameters named in `forms` held packed. Errors: `indivisible`, where rows are no whole blocks. */
export function withQuantized(model: Model, forms: QuantizedForms, activations: Activations): Model {
  const parameters = Object.entries(model.parameters).map(([name, parameter]): [string, Parameter] => {
    const form = forms[name];
    if (form) quantizedTypes(parameter.shape, form);
    return [name, form ? { ...parameter, quantized: { form, activations } } : parameter];
  });
  return { ...model, parameters: Object.fromEntries(parameters) };
}

/** What a program takes for one parameter: itself in `dtype`, or its parts with their names behind its own. */
export function inputsOf(name: string, { shape, quantized }: Parameter, dtype: DType): Record<string, ArrayType> {
  if (!quantized) return { [name]: { dtype, shape } };
  const parts = Object.entries(quantizedTypes(shape, quantized.form));
  return Object.fromEntries(parts.map(([part, type]) => [`${name}.${part}`, type]));
}

/** What a program takes for all parameters. */
export function parameterTypes(model: Model, dtype: DType = 'float32'): Readonly<Record<string, ArrayType>> {
  return Object.assign({}, ...Object.entries(model.parameters).map(([name, one]) => inputsOf(name, one, dtype)));
}

/** The parameters as operators see them, of a program's inputs. Floats of `dtype`. Errors: `missing-parameter`. */
export function parametersIn(
  model: Model,
  inputs: Readonly<Record<string, Tensor>>,
  dtype: DType = 'float32',
): Record<string, Tensor> {
  const heldAs = (name: string, parameter: Parameter): Tensor => {
    const { quantized } = parameter;
    if (!quantized) return take(inputs, name);
    const parts = Object.keys(inputsOf(name, parameter, dtype)).map((part) => take(inputs, part));
    const floats = parts.map((part) => (part.dtype === 'uint8' ? part : cast(part, dtype)));
    return new QuantizedTensor(floats, quantized.form, quantized.activations);
  };
  const tensorOf = (name: string, parameter: Parameter): Tensor => {
    const held = heldAs(name, parameter);
    if (!parameter.lowRank) return held;
    const { a, b } = factorNames(name);
    const factor = take(inputs, a);
    return adapted(cast(held, factor.dtype), factor, take(inputs, b), parameter.lowRank.scale);
  };
  return Object.fromEntries(Object.entries(model.parameters).map(([name, one]) => [name, tensorOf(name, one)]));
}
