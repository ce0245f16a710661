// Which matrices of a model can be held packed, and what its programs and figures then say.
import { describe, expect, it } from 'vitest';
import {
  attention,
  decodeBytes,
  defineModel,
  formsFor,
  gradientProgram,
  layer,
  lossProgram,
  moe,
  packable,
  shortConv,
  stepProgram,
  swiglu,
  weightBytes,
  withQuantized,
  withRoundedRows,
} from './index.ts';

const form = { bits: 4, block: 32, affine: false } as const;
const mlp = swiglu({ intermediateSize: 128 });
const model = defineModel({
  vocabSize: 320,
  hiddenSize: 64,
  layers: [
    layer(shortConv({ kernel: 3 }), mlp),
    layer(attention({ heads: 2, keyValueHeads: 1 }), moe({ experts: 32, activeExperts: 2, intermediateSize: 64 })),
  ],
});
const forms = formsFor(model, form);
const packed = withQuantized(model, forms, 'float32');

describe('packed parameters', () => {
  it('are the matrices that are multiplied by or looked up, tables shared by both ends too', () => {
    const names = Object.keys(forms);
    expect(names).toContain('model.embed_tokens.weight');
    expect(names).toContain('model.layers.0.conv.in_proj.weight');
    expect(names.filter((name) => /norm|\.conv\.conv\.|experts|gate\.weight/.test(name))).toEqual([]);
  });

  it('are not those that a step would unpack whole', () => {
    const kernel = 'model.layers.0.conv.conv.weight';
    const stack = 'model.layers.1.feed_forward.experts.w1.weight';
    expect(packable(model, { [kernel]: form, [stack]: form })).toEqual({});
  });

  it('are never unpacked in a step, and their rows are looked up one by one', () => {
    const { operations, inputs } = stepProgram(packed, { batch: 1, length: 'T', capacity: 8 });
    const count = (kind: string) => operations.filter((operation) => operation.kind === kind).length;
    const matrices = Object.keys(forms).length;
    expect([count('matmul_quantized'), count('dequantize')]).toEqual([matrices, 1]);
    const given = new Set(inputs.map(({ value }) => value));
    const unpacked = operations.find(({ kind }) => kind === 'dequantize')?.operands ?? [];
    expect(unpacked.some((operand) => given.has(operand))).toBe(false);
  });

  it('make a token read less', () => {
    const [before, after] = [decodeBytes(model, 8, 'float32'), decodeBytes(packed, 8, 'float32')];
    expect(after.stateRead).toBe(before.stateRead);
    expect(after.weights / before.weights).toBeLessThan(0.6);
    const elements = Object.keys(forms).reduce((sum, name) => {
      const [rows = 0, columns = 0] = model.parameters[name]?.shape ?? [];
      return sum + rows * columns;
    }, 0);
    // Half a byte an element, and a float32 scale for 32 of them.
    expect(weightBytes(model, 'float32') - weightBytes(packed, 'float32')).toBe(elements * (4 - 0.5 - 4 / 32));
  });

  it('have a loss, and no gradient', () => {
    expect(() => lossProgram(packed, { batch: 1, length: 8 })).not.toThrow();
    expect(() => gradientProgram(packed, { batch: 1, length: 8 })).toThrow(/is packed, and so cannot be trained/);
  });

  it('must have rows of whole blocks', () => {
    const wide = { [`model.embed_tokens.weight`]: { ...form, block: 128 } };
    expect(() => withQuantized(model, wide, 'float32')).toThrow(/whole blocks/);
  });
});

describe('for many rows', () => {
  it('matrices that meet int8 are rounded by whole rows, all but the table of the vocabulary', () => {
    const many = withRoundedRows(withQuantized(model, forms, 'int8'));
    if (!many) throw new Error('Expected another form.');
    const { operations, inputs } = stepProgram(many, { batch: 1, length: 'T', capacity: 8 });
    const count = (kind: string) => operations.filter((operation) => operation.kind === kind).length;
    // The table is read twice: a row looked up, and the scores.
    expect([count('matmul_rows'), count('matmul_quantized')]).toEqual([Object.keys(forms).length - 1, 1]);
    expect(inputs.map(({ name }) => name)).toContain('model.layers.0.conv.in_proj.weight.levels');
    expect(withRoundedRows(packed)).toBeUndefined();
  });
});
