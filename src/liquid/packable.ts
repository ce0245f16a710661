// Which matrices of a model can be held packed, read off its traced step: no operator declares it.
import type { QuantizedForm } from '../tensor/index.ts';
import { LfmError } from '../tensor/index.ts';
import type { Model } from './model.ts';
import type { Parameter } from './parameter.ts';
import { stepProgram } from './programs.ts';
import type { QuantizedForms } from './quantized.ts';
import { withQuantized } from './quantized.ts';
import type { Rounding } from './rounding.ts';

/**
 * Of `forms`, those of matrices that the model's step only multiplies by and looks rows up in. What it reads otherwise
 * (kernels of convolutions, stacks of experts) would be unpacked whole at every step, and is better held as floats.
 */
export function packable(model: Model, forms: QuantizedForms): QuantizedForms {
  const matrices = Object.entries(forms).filter(([name]) => model.parameters[name]?.shape.length === 2);
  const packed = withQuantized(model, Object.fromEntries(matrices), 'float32');
  const program = stepProgram(packed, { batch: 1, length: 'T', capacity: 1 });
  const unpacked = new Set(program.operations.flatMap(({ kind, operands }) => (kind === 'dequantize' ? operands : [])));
  const whole = new Set(program.inputs.flatMap(({ name, value }) => (unpacked.has(value) ? [name] : [])));
  return Object.fromEntries(matrices.filter(([name]) => !whole.has(`${name}.packed`)));
}

/** One form for every matrix that can take it. The few rows of routers and gates, which decide much, stay floats. */
export function formsFor(model: Model, form: QuantizedForm): QuantizedForms {
  const fitting = Object.entries(model.parameters).filter(
    ([
      ,
      {
        shape: [rows = 0, columns = 0, ...more],
        axes,
      },
    ]) =>
      more.length === 0 && columns > 0 && columns % form.block === 0 && rows >= form.block && !axes.includes('routes'),
  );
  return packable(model, Object.fromEntries(fitting.map(([name]) => [name, form])));
}

/** The model with every matrix that `lfm quantize` packs rounded so in its loss. Errors: `nothing-to-quantize`. */
export function withRounding(model: Model, rounding: Rounding): Model {
  const forms = formsFor(model, { ...rounding, affine: false });
  if (Object.keys(forms).length === 0)
    throw new LfmError(
      'nothing-to-quantize',
      `The model has no matrix whose rows are whole blocks of ${rounding.block}: give a smaller block, or train without quantize.`,
    );
  const parameters = Object.entries(model.parameters).map(([name, parameter]): [string, Parameter] => [
    name,
    forms[name] ? { ...parameter, rounding } : parameter,
  ]);
  return { ...model, parameters: Object.fromEntries(parameters) };
}
