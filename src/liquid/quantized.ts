// Models whose matrices are held packed or changed by an adapter: what programs then take, and the tensors that operators see.
import type { Activations, ArrayType, DType, Program, QuantizedForm, Tensor } from '../tensor/index.ts';
import { adapted, cast, QuantizedTensor, quantizedTypes, RoundedTensor, roundedRows, trace } from '../tensor/index.ts';
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

/** The model with all its parameters held as floats. */
export function asFloats(model: Model): Model {
  const parameters = Object.entries(model.parameters).map(([name, parameter]): [string, Parameter] => {
    const { quantized: _, ...plain } = parameter;
    return [name, plain];
  });
  return { ...model, parameters: Object.fromEntries(parameters) };
}

/**
 * The model for steps over many rows, where its packed matrices meet activations of `int8`: each then is a RoundedTensor, under the
 * names of `roundedProgram`. Tables of the vocabulary stay as they are, since a prompt needs one row's scores. Undefined where there is
 * no such matrix.
 */
export function withRoundedRows(model: Model): Model | undefined {
  const parameters = Object.entries(model.parameters).map(([name, parameter]): [string, Parameter] => {
    const changes = parameter.quantized?.activations === 'int8' && !parameter.axes.includes('vocabulary');
    return [name, changes ? { ...parameter, isRounded: true } : parameter];
  });
  if (!parameters.some(([, { isRounded }]) => isRounded)) return undefined;
  return { ...model, parameters: Object.fromEntries(parameters) };
}

/** Makes a rounded matrix's parts of the packed one's, by the same names. */
export function roundedProgram(name: string, parameter: Parameter): Program {
  const packed = { ...parameter, isRounded: false };
  const types = inputsOf(name, packed, 'float32');
  return trace('round', types, (inputs) => {
    const { levels, scales } = roundedRows(tensorOf(name, packed, inputs, 'float32'));
    return { [`${name}.levels`]: levels, [`${name}.levelScales`]: scales };
  });
}

/** What a program takes for one parameter: itself in `dtype`, or its parts with their names behind its own. */
export function inputsOf(
  name: string,
  { shape, quantized, isRounded }: Parameter,
  dtype: DType,
): Record<string, ArrayType> {
  if (isRounded) {
    const [rows = 0, columns = 0] = shape;
    return {
      [`${name}.levels`]: { dtype: 'int8', shape: [columns, rows] },
      [`${name}.levelScales`]: { dtype: 'float32', shape: [rows] },
    };
  }
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
  return Object.fromEntries(
    Object.entries(model.parameters).map(([name, one]) => [name, tensorOf(name, one, inputs, dtype)]),
  );
}

/** A parameter as it is held. */
function heldAs(name: string, parameter: Parameter, inputs: Readonly<Record<string, Tensor>>, dtype: DType): Tensor {
  const { quantized, isRounded } = parameter;
  if (isRounded) return new RoundedTensor([take(inputs, `${name}.levels`), take(inputs, `${name}.levelScales`)]);
  if (!quantized) return take(inputs, name);
  const parts = Object.keys(inputsOf(name, parameter, dtype)).map((part) => take(inputs, part));
  const floats = parts.map((part) => (part.dtype === 'uint8' ? part : cast(part, dtype)));
  return new QuantizedTensor(floats, quantized.form, quantized.activations);
}

function tensorOf(name: string, parameter: Parameter, inputs: Readonly<Record<string, Tensor>>, dtype: DType): Tensor {
  const held = heldAs(name, parameter, inputs, dtype);
  if (!parameter.lowRank) return held;
  const { a, b } = factorNames(name);
  const factor = take(inputs, a);
  return adapted(cast(held, factor.dtype), factor, take(inputs, b), parameter.lowRank.scale);
}
