// Programs as StableHLO text: what stands in it, and what a target's kernels take over. That it computes the right numbers
// is tested in test/operations.
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { ArrayType, Tensor } from '../../tensor/index.ts';
import {
  add,
  attention,
  cast,
  constant,
  full,
  gradients,
  mul,
  rmsNorm,
  scan,
  softmaxCrossEntropy,
  sum,
  trace,
} from '../../tensor/index.ts';
import { toStableHlo } from './stablehlo.ts';

const float = (...shape: (number | string)[]): ArrayType => ({ dtype: 'float32', shape });
const half = (...shape: number[]): ArrayType => ({ dtype: 'bfloat16', shape });

describe('a module', () => {
  it('takes the inputs and gives the outputs in order', () => {
    const program = trace('a sum', { a: float(2, 3), b: float(2, 3) }, ({ a, b }) => ({ first: add(a, b), second: b }));
    expect(toStableHlo(program).text).toBe(
      [
        'module @a_sum attributes {mhlo.num_partitions = 1 : i32, mhlo.num_replicas = 1 : i32} {',
        'func.func public @main(%arg0: tensor<2x3xf32>, %arg1: tensor<2x3xf32>) -> (tensor<2x3xf32>, tensor<2x3xf32>) {',
        '%0 = "stablehlo.add"(%arg0, %arg1) : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>',
        '"func.return"(%0, %arg1) : (tensor<2x3xf32>, tensor<2x3xf32>) -> ()',
        '}',
        '}',
        '',
      ].join('\n'),
    );
  });

  it('has its symbols bound', () => {
    const program = trace('p', { x: float('B', 'B+1') }, ({ x }) => ({ y: add(x, 1) }));
    expect(toStableHlo(program, { bindings: { B: 4 } }).text).toContain('tensor<4x5xf32>');
    expect(() => toStableHlo(program)).toThrow(expect.objectContaining({ code: 'unbound-symbol' }));
  });

  it('asks for the donations that types and sizes allow', () => {
    const program = trace(
      'p',
      { x: float(4), y: float(2), z: float(4) },
      ({ x, y, z }) => ({ other: add(y, 1), next: add(x, z), narrow: cast(z, 'bfloat16') }),
      { donations: { x: 'next', y: 'next', z: 'narrow' } },
    );
    const { text, aliases } = toStableHlo(program);
    expect(aliases).toEqual({ x: 'next' });
    expect(text).toContain(
      '%arg0: tensor<4xf32> {tf.aliasing_output = 1 : i32}, %arg1: tensor<2xf32>, %arg2: tensor<4xf32>)',
    );
  });
});

describe('constants', () => {
  const textOf = (make: () => Tensor) => toStableHlo(trace('p', {}, () => ({ y: make() }))).text;

  it.each([
    ['float32', 1, '0x3F800000'],
    ['float32', -0, '0x80000000'],
    ['float32', NaN, '0x7FC00000'],
    ['float64', -Infinity, '0xFFF0000000000000'],
    ['bfloat16', 1.5, '0x3FC0'],
    ['float16', 65504, '0x7BFF'],
    ['uint32', 4294967295, '4294967295'],
    ['int32', -7, '-7'],
    ['bool', 1, 'true'],
  ] as const)('%s %d is %s', (dtype, value, text) => {
    expect(textOf(() => full(dtype, [2], value))).toContain(`dense<${text}> : tensor<`);
  });

  it('of host memory are its bytes', () => {
    expect(textOf(() => constant('float32', [2], Float32Array.of(1, -2)))).toContain(
      'dense<"0x0000803F000000C0"> : tensor<2xf32>',
    );
    expect(textOf(() => constant('float32', [0, 2], new Float32Array(0)))).toContain('dense<> : tensor<0x2xf32>');
  });

  it('of flags and 4-bit integers go through whole bytes', () => {
    expect(textOf(() => constant('bool', [3], Uint8Array.of(1, 0, 1)))).toContain('dense<"0x010001"> : tensor<3xui8>');
    // Low half first: 1, -1, 7.
    expect(textOf(() => constant('int4', [3], Uint8Array.of(0xf1, 0x07)))).toContain(
      'dense<"0x01FF07"> : tensor<3xi8>',
    );
  });
});

describe('rules', () => {
  it('sum 16-bit floats in float32', () => {
    const { text } = toStableHlo(trace('p', { x: half(8) }, ({ x }) => ({ y: sum(x, [0]) })));
    expect(text).toContain('"stablehlo.reduce"');
    expect(text).toContain('(tensor<8xf32>, tensor<f32>) -> tensor<f32>');
  });

  it('write a scan as a loop that carries no captured value', () => {
    const program = trace('p', { x: float(2), w: float(2), xs: float(5, 2) }, ({ x, w, xs }) => {
      const { carries, outputs } = scan(5, [x], [xs], (_index, [state = x], [row = xs]) => {
        const next = add(mul(state, w), row);
        return { carries: [next], outputs: [next] };
      });
      return { last: carries[0] ?? x, all: outputs[0] ?? xs };
    });
    const { text } = toStableHlo(program);
    expect(text).toMatch(/:3 = "stablehlo.while"\(%\d+, %arg0, %\d+\)/);
    expect(text).toContain('dense<5> : tensor<i32>');
    expect(text).toContain('"stablehlo.dynamic_slice"(%arg2,');
  });

  it('refuse what they do not know', () => {
    const program = { ...trace('p', { x: float(2) }, ({ x }) => ({ y: add(x, x) })) };
    const strange = {
      ...program,
      operations: program.operations.map((operation) => ({ ...operation, kind: 'optimization_barrier' })),
    };
    expect(toStableHlo(strange).text).toContain('stablehlo.optimization_barrier');
    expect(() =>
      toStableHlo({ ...program, operations: program.operations.map((one) => ({ ...one, kind: 'nonesuch' })) }),
    ).toThrow();
  });
});

const attend = (
  dtype: 'bfloat16' | 'float32',
  [batch, length, heads, groups, width]: readonly [number, number, number, number, number],
  causal = true,
  window: number | null = null,
) => {
  const type = (count: number): ArrayType => ({ dtype, shape: [batch, length, count, width] });
  return trace('attend', { q: type(heads), k: type(groups), v: type(groups) }, ({ q, k, v }) => {
    const out = attention(q, k, v, { scale: width ** -0.5, causal, window });
    const loss = sum(cast(out, 'float32'), [0, 1, 2, 3]);
    const [dq = q, dk = k, dv = v] = gradients(loss, [q, k, v]);
    return { loss, dq, dk, dv };
  });
};

describe('on NVIDIA', () => {
  const calls = (program: ReturnType<typeof attend>, target: 'cuda' | 'generic' = 'cuda') =>
    [...toStableHlo(program, { target }).text.matchAll(/call_target_name = "([^"]*)"/g)].map(([, name]) => name);
  const both = ['__cudnn$fmhaSoftmax', '__cudnn$fmhaSoftmaxBackward'];

  it('attention is cuDNN’s where it fits', () => {
    expect(calls(attend('bfloat16', [2, 128, 4, 2, 64]))).toEqual(both);
    expect(calls(attend('bfloat16', [1, 64, 3, 3, 128], false))).toEqual(both);
  });

  it.each([
    ['another target', attend('bfloat16', [2, 128, 4, 2, 64]), 'generic'],
    ['float32', attend('float32', [2, 128, 4, 2, 64]), 'cuda'],
    ['a ragged length', attend('bfloat16', [2, 96, 4, 2, 64]), 'cuda'],
    ['a wide head', attend('bfloat16', [2, 64, 2, 2, 136]), 'cuda'],
    ['an odd head', attend('bfloat16', [2, 64, 2, 2, 36]), 'cuda'],
    ['a window', attend('bfloat16', [2, 128, 4, 2, 64], true, 32), 'cuda'],
  ] as const)('but not for %s', (_title, program, target) => expect(calls(program, target)).toEqual([]));

  const probe = new URL('../../../../shared/reference/probes/cudnn_attention_grad.mlir', import.meta.url);
  it.skipIf(!existsSync(probe))('its calls are those that were seen to run', () => {
    const { text } = toStableHlo(attend('bfloat16', [2, 256, 4, 2, 64]), { target: 'cuda' });
    const described = (source: string) =>
      source
        .split('\n')
        .filter((line) => line.includes('fmha'))
        .map((line) => ({
          config: JSON.parse(
            (/backend_config = "([^"]*)"/.exec(line)?.[1] ?? '').replaceAll(String.raw`\22`, '"'),
          ) as unknown,
          layouts: line.match(/(operand|result)_layouts = \[.*?index>\]/g),
          types: /: (\(tensor<2.*)$/.exec(line)?.[1],
        }));
    expect(described(text)).toEqual(described(readFileSync(probe, 'utf8')));
  });

  it('the cross entropy is cut only where its logits would not fit', () => {
    const program = (classes: number) =>
      trace(
        'loss',
        { x: half(512, 8), w: half(classes, 8), labels: { dtype: 'int32', shape: [512] }, weights: float(512) },
        ({ x, w, labels, weights }) => ({
          loss: softmaxCrossEntropy(x, w, labels, weights, { chunks: 8 }),
        }),
      );
    expect(toStableHlo(program(100)).text).toContain('tensor<64x100xbf16>');
    expect(toStableHlo(program(100), { target: 'cuda' }).text).toContain('tensor<512x100xbf16>');
    expect(toStableHlo(program(2 ** 23), { target: 'cuda' }).text).toContain(`tensor<256x${2 ** 23}xbf16>`);
  });

  it('leaves other composites to XLA', () => {
    const program = trace('p', { x: half(4, 8), w: half(8) }, ({ x, w }) => ({ y: rmsNorm(x, w, 1e-5) }));
    expect(toStableHlo(program, { target: 'cuda' })).toEqual(toStableHlo(program));
  });
});
