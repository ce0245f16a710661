// Rounding in the loss: the numbers of packed matrices to the last bit, and gradients that go straight through.
import { expect, it } from 'vitest';
import { dequantizeMatrix, quantizeMatrix } from '../files/quantized.ts';
import { Random, trace } from '../tensor/index.ts';
import { attention, defineModel, gradientProgram, initialise, layer, lossProgram, roundedAs, swiglu } from './index.ts';
import { withRounding } from './index.ts';
import { allEngines, describeOnEngines, float32, int32, numbers, run } from './testing.ts';

/** Blocks of all kinds: usual, tiny (a scale below float16's normal numbers, or none), tied extremes, halves between levels, zeros. */
function rowsOf(columns: number): Float32Array {
  const random = new Random(3);
  const row = (make: (at: number) => number) => Array.from({ length: columns }, (_, at) => Math.fround(make(at)));
  const normal = () => random.normal();
  return Float32Array.from(
    [
      ...Array.from({ length: 24 }, (_, n) => row(() => normal() * 10 ** (2 - n / 3))),
      row((at) => [-1, 1, 0.5, 0.25][at % 4] ?? 0),
      row((at) => [1, -1, 0.3, -0.7][at % 4] ?? 0),
      row((at) => (at === 0 ? -8 : (at % 17) - 7.5)),
      row((at) => (at === 0 ? 8 : (at % 17) - 7.5)),
      row((at) => (at === 0 ? 127 : (at % 64) - 31.5)),
      row(() => 0),
      row((at) => (at === 5 ? -0 : 0)),
      row((at) => (at < columns / 2 ? 0 : normal())),
    ].flat(),
  );
}

const engines = await allEngines();

describeOnEngines(
  'rounding for few bits',
  (engine) => {
    it.each([
      { bits: 4, block: 32 },
      { bits: 4, block: 128 },
      { bits: 8, block: 32 },
    ] as const)('gives the floats of the packed matrix ($bits bits, blocks of $block)', async (rounding) => {
      const x = rowsOf(256);
      const shape = [x.length / 256, 256];
      const program = trace('rounding', { x: { dtype: 'float32', shape } }, ({ x: given }) =>
        given ? { y: roundedAs(given, rounding) } : {},
      );
      const { y } = await run(engine, program, { x: float32(shape, x) });
      const form = { ...rounding, affine: false };
      const expected = dequantizeMatrix(quantizeMatrix(x, shape, form), form);
      const wrong = numbers(y).flatMap((value, at) =>
        value === expected[at] ? [] : [[at, x[at], value, expected[at]]],
      );
      expect(wrong).toEqual([]);
      expect(expected.some((value, at) => value !== x[at])).toBe(true);
    });

    it('has the loss of the rounded model, and its gradients', async () => {
      const model = defineModel({
        vocabSize: 40,
        hiddenSize: 32,
        layers: [layer(attention({ heads: 4, keyValueHeads: 4 }), swiglu({ intermediateSize: 64 }))],
      });
      const aware = withRounding(model, { bits: 4, block: 32 });
      const rounded = Object.keys(aware.parameters).filter((name) => aware.parameters[name]?.rounding);
      expect(rounded).toHaveLength(8);
      const [values, packed] = [initialise(model, 2), initialise(model, 2)];
      for (const name of rounded) {
        const { shape } = model.parameters[name] ?? { shape: [] };
        const form = { bits: 4, block: 32, affine: false } as const;
        packed[name] = dequantizeMatrix(quantizeMatrix(values[name] ?? new Float32Array(), shape, form), form);
      }
      const given = (from: Readonly<Record<string, Float32Array>>) => ({
        ...Object.fromEntries(
          Object.entries(model.parameters).map(([name, { shape }]) => [name, float32([...shape], from[name] ?? [])]),
        ),
        tokens: int32([1, 6], [1, 2, 3, 4, 5, 6]),
        labels: int32([1, 6], [2, 3, 4, 5, 6, 7]),
        weights: float32([1, 6], [1, 1, 1, 1, 1, 1]),
      });
      const options = { batch: 1, length: 6 };
      const found = await run(engine, gradientProgram(aware, options), given(values));
      const expected = await run(engine, gradientProgram(model, options), given(packed));
      const measured = await run(engine, lossProgram(aware, options), given(values));
      expect(numbers(found['loss'])[0]).toBeCloseTo(numbers(expected['loss'])[0] ?? NaN, 5);
      expect(numbers(measured['loss'])[0]).toBeCloseTo(numbers(expected['loss'])[0] ?? NaN, 5);
      for (const name of Object.keys(model.parameters)) {
        const [a, b] = [numbers(found[`gradient.${name}`]), numbers(expected[`gradient.${name}`])];
        expect(
          a.some((value) => value !== 0),
          name,
        ).toBe(true);
        expect(Math.max(...a.map((value, at) => Math.abs(value - (b[at] ?? NaN)))), name).toBeLessThan(1e-5);
      }
    });
  },
  engines,
);
