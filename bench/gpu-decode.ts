// Decoding of a definition with random weights on an accelerator, many tokens a launch: one JSON line for each batch and
// context, with the share of the memory's bandwidth that the model's own bytes make. Bundled as bench/README says.
//
//   node gpu-decode.mjs --model lfm2-350m --batch 1,64 --context 512,2048 --bandwidth 3.35e12
import { parseArgs } from 'node:util';
import type { Buffer } from '../src/engines/engine.ts';
import { xlaEngine } from '../src/engines/xla/engine.node.ts';
import { rolloutProgram } from '../src/generate/rollout.ts';
import { decodeBytes, stateTypes } from '../src/liquid/index.ts';
import { catalogue } from '../src/models/catalogue.ts';
import { randomWeights } from './random-weights.ts';

const { values: args } = parseArgs({
  options: {
    model: { type: 'string', default: 'lfm2-350m' },
    batch: { type: 'string', default: '1,64' },
    context: { type: 'string', default: '512,2048' },
    steps: { type: 'string', default: '64' },
    runs: { type: 'string', default: '4' },
    dtype: { type: 'string', default: 'bfloat16' },
    bandwidth: { type: 'string', default: '3.35e12' },
    plugin: { type: 'string' },
  },
});
const numbers = (list: string) => list.split(',').map(Number);
const entry = catalogue[args.model];
if (!entry) throw new Error(`--model: expected one of ${Object.keys(catalogue).join(', ')}; found ${args.model}.`);
const model = entry.model();
const dtype = args.dtype === 'float32' ? 'float32' : 'bfloat16';
const engine = await xlaEngine(args.plugin === undefined ? {} : { plugin: args.plugin });

const weights = await randomWeights(engine, model, dtype);

const steps = Number(args.steps);
const runs = Number(args.runs);
for (const batch of numbers(args.batch)) {
  for (const context of numbers(args.context)) {
    const capacity = Math.ceil((context + steps * (runs + 1)) / 64) * 64;
    const start = performance.now();
    const rollout = await engine.compile(rolloutProgram(model, { batch, capacity, steps, dtype }));
    const compileSeconds = (performance.now() - start) / 1000;
    let carried: Record<string, Buffer> = {
      token: await engine.upload('int32', [batch], new Int32Array(batch).fill(1)),
      starts: await engine.upload('int32', [batch], new Int32Array(batch).fill(context)),
    };
    for (const [name, { dtype: type, shape }] of Object.entries(stateTypes(model, { batch, capacity, dtype })))
      carried[`state.${name}`] = await engine.zeros(type, shape.map(Number));
    const run = async () => {
      const { tokens, ...next } = await rollout.run({ ...weights, ...carried });
      carried = next;
      return tokens;
    };
    const first = await run();
    if (first) await engine.download(first);
    const from = performance.now();
    const drawn = [];
    for (let i = 0; i < runs; i++) drawn.push(await run());
    for (const tokens of drawn) if (tokens) await engine.download(tokens);
    const msPerStep = (performance.now() - from) / (steps * runs);
    const traffic = decodeBytes(model, context + steps, dtype);
    const perRow = traffic.stateRead + traffic.stateWritten;
    const bytes = traffic.weights + batch * perRow;
    // The buffers' whole capacity is walked, not the rows in use alone.
    const walked = decodeBytes(model, capacity, dtype);
    console.log(
      JSON.stringify({
        engine: engine.description,
        model: args.model,
        dtype,
        batch,
        context,
        capacity,
        compileSeconds,
        msPerStep,
        tokensPerSecond: (1000 * batch) / msPerStep,
        generated: steps * (runs + 1),
        peakMemoryBytes: engine.memoryStats()?.[0]?.peakBytesInUse,
        bytesPerStep: bytes,
        bandwidthShare: (bytes * 1000) / msPerStep / Number(args.bandwidth),
        bandwidthShareOfCapacity:
          ((walked.weights + batch * (walked.stateRead + walked.stateWritten)) * 1000) /
          msPerStep /
          Number(args.bandwidth),
      }),
    );
    for (const buffer of [...Object.values(carried), first, ...drawn]) buffer?.dispose();
    rollout.release();
  }
}
await engine.close();
