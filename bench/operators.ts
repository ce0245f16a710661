// npm run bench -- operators: how fast each operator trains, forward and backward over one layer's input, as a share of the
// rate of a plain matrix product in the same run. Shapes: B rows, T tokens, D hidden.
import { parseArgs } from 'node:util';
import { openEngine } from '../src/engines/default.node.ts';
import type { Buffer, Engine } from '../src/engines/engine.ts';
import {
  attention,
  cfc,
  createContext,
  flopsOfProgram,
  gatedDelta,
  latentAttention,
  linearAttention,
  liv,
  livClasses,
  longConv,
  ltc,
  mamba,
  mamba2,
  moe,
  shortConv,
  swiglu,
} from '../src/liquid/index.ts';
import type { Operator } from '../src/liquid/index.ts';
import { engineOf } from './options.ts';
import { applyOperator } from '../src/liquid/operator.ts';
import type { ArrayType, Program } from '../src/tensor/index.ts';
import { cast, countOf, gradients, matmul, mul, Random, sum, trace } from '../src/tensor/index.ts';

const operators = (d: number): Readonly<Record<string, Operator>> => ({
  attention: attention({ heads: d / 64, keyValueHeads: d / 128 }),
  latent_attention: latentAttention({
    heads: d / 64,
    kvLoraRank: d / 4,
    qkNopeHeadDim: 48,
    qkRopeHeadDim: 16,
    vHeadDim: 64,
  }),
  short_conv: shortConv({}),
  long_conv: longConv({}),
  linear_attention: linearAttention({ heads: d / 64 }),
  gated_delta: gatedDelta({ keyHeads: d / 64, keyHeadDim: 64, valueHeadDim: 64 }),
  mamba: mamba({}),
  mamba2: mamba2({ headDim: 64, stateSize: 64 }),
  ltc: ltc({}),
  cfc: cfc({}),
  swiglu: swiglu({ intermediateSize: 3 * d }),
  moe: moe({ experts: 8, activeExperts: 2, intermediateSize: d }),
  // Classes of the design space that equal none of these.
  ...Object.fromEntries(
    livClasses
      .filter(({ name }) => ['SA-2', 'Rec-1', 'Rec-2', 'GConv-2'].includes(name))
      .map(({ name, parts }) => [name, liv(parts)]),
  ),
});

/** The operator's gradients with respect to its input and its parameters, of a weighted sum of its output. */
function trainingProgram(
  operator: Operator,
  batch: number,
  length: number,
  hiddenSize: number,
  dtype: 'float32' | 'bfloat16',
): Program {
  const stream: ArrayType = { dtype: 'float32', shape: [batch, length, hiddenSize] };
  const parameters = Object.entries(operator.parameters({ hiddenSize })).map(
    ([key, { shape }]) => [key, { dtype: 'float32', shape }] as const,
  );
  const types: Record<string, ArrayType> = { ...Object.fromEntries(parameters), x: stream, dy: stream };
  return trace(operator.name, types, (given) => {
    const { x, dy, ...p } = Object.fromEntries(Object.entries(given).map(([key, wide]) => [key, cast(wide, dtype)]));
    if (!x || !dy) return {};
    const context = createContext({ batch, length, normEps: 1e-5 });
    const { y } = applyOperator(operator, p, x, {}, context);
    const wrt = [x, ...Object.values(p)];
    const found = gradients(sum(mul(y, dy), [0, 1, 2]), wrt);
    return Object.fromEntries(found.map((gradient, i) => [`d${i}`, gradient]));
  });
}

/** Best of some runs, in seconds, on random inputs. */
async function timeOf(engine: Engine, program: Program, runs: number): Promise<number> {
  const random = new Random(1);
  const executable = await engine.compile(program);
  const inputs: Record<string, Buffer> = {};
  for (const { name, value } of program.inputs) {
    const shape = value.shape.map(Number);
    const data = new Float32Array(countOf(shape));
    random.fillNormal(data, 0.05);
    inputs[name] = await engine.upload('float32', shape, data);
  }
  let best = Infinity;
  for (let run = 0; run <= runs; run++) {
    const start = performance.now();
    const outputs = await executable.run(inputs);
    // An engine may answer before the work is done: the smallest result, read, is its end.
    const [smallest] = Object.values(outputs).toSorted((a, b) => a.byteLength - b.byteLength);
    if (smallest) await engine.download(smallest);
    for (const buffer of Object.values(outputs)) buffer.dispose();
    if (run > 0) best = Math.min(best, (performance.now() - start) / 1000);
  }
  for (const buffer of Object.values(inputs)) buffer.dispose();
  executable.release();
  return best;
}

export async function benchOperators(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      json: { type: 'boolean', default: false },
      engine: { type: 'string', default: 'onnx' },
      dtype: { type: 'string', default: 'float32' },
      threads: { type: 'string', default: '2' },
      batch: { type: 'string', default: '1' },
      length: { type: 'string', default: '2048' },
      hidden: { type: 'string', default: '512' },
      runs: { type: 'string', default: '5' },
    },
  });
  const [batch, length, hidden, runs] = [values.batch, values.length, values.hidden, values.runs].map(Number) as [
    number,
    number,
    number,
    number,
  ];
  const engine = await openEngine(engineOf(values));
  const dtype = values.dtype === 'bfloat16' ? 'bfloat16' : 'float32';
  // As many rows as the operators have, and as much hidden: what one of their products would be.
  const [tall, wide] = [Math.max(2048, batch * length), Math.max(1024, hidden)];
  const plain = trace(
    'product',
    { a: { dtype: 'float32', shape: [tall, wide] }, b: { dtype: 'float32', shape: [wide, wide] } },
    // The sum is what is read of it, and little beside the product.
    ({ a, b }) => ({ c: sum(matmul(cast(a, dtype), cast(b, dtype)), [0]) }),
  );
  const peak = flopsOfProgram(plain) / (await timeOf(engine, plain, 4 * runs));
  const rows = [];
  for (const [name, operator] of Object.entries(operators(hidden))) {
    const program = trainingProgram(operator, batch, length, hidden, dtype);
    const flops = flopsOfProgram(program);
    const seconds = await timeOf(engine, program, runs);
    rows.push({
      operator: name,
      ms: Number((1000 * seconds).toFixed(1)),
      'tokens/s': Math.round((batch * length) / seconds),
      GFLOP: Number((flops / 1e9).toFixed(2)),
      'share of a product': Number((flops / seconds / peak).toFixed(3)),
    });
  }
  const record = {
    benchmark: 'operators',
    engine: engine.description,
    batch,
    length,
    hidden,
    dtype,
    productGflops: peak / 1e9,
    rows,
  };
  if (values.json) console.log(JSON.stringify(record, undefined, 2));
  else {
    console.log(`${engine.description}; a plain product runs at ${(peak / 1e9).toFixed(0)} GFLOP/s`);
    console.table(rows);
  }
  await engine.close();
}
