// One length of npm run bench -- generate --long, in a process of its own: a state of LENGTH tokens whose rows are filled with
// numbers of no meaning (to compute them would take hours), after which tokens are decoded. Prints JSON.
//
//   node --expose-gc … bench/generate-long-run.ts MODEL.gguf LENGTH THREADS NUMERICS
import { readFile } from 'node:fs/promises';
import { openEngine } from '../src/engines/default.node.ts';
import { Generator } from '../src/generate/generator.ts';
import { openSource } from '../src/generate/source.node.ts';
import type { Numerics } from '../src/generate/weights.ts';
import { heldModel, uploadWeights } from '../src/generate/weights.ts';
import { decodeBytes, stateBytes, stateTypes } from '../src/liquid/index.ts';
import { countOf } from '../src/tensor/index.ts';

const DECODED = 48;
const [path = '', tokens = '', threads = '', numerics = ''] = process.argv.slice(2);
const length = Number(tokens);
const engine = await openEngine({ name: 'onnx', threads: Number(threads) });
const source = await openSource(path);
const held = heldModel(source, numerics as Numerics);
const weights = await uploadWeights(engine, held, source.weights);
const generator = new Generator(engine, held.model, weights, { capacities: [length] });
const state = await generator.open(length);
for (const [name, { shape }] of Object.entries(stateTypes(held.model, { batch: 1, capacity: state.capacity }))) {
  const sizes = shape.map(Number);
  const values = new Float32Array(countOf(sizes));
  // None of them zero: a page of zeros may be no memory.
  for (let at = 0; at < values.length; at++) values[at] = ((at * 7919) % 1009) * 4e-5 - 0.02;
  state.buffers[`state.${name}`]?.dispose();
  state.buffers = { ...state.buffers, [`state.${name}`]: await engine.upload('float32', sizes, values) };
}
state.lengths[0] = length - DECODED;
const cpu = () => process.cpuUsage().user / 1000 + process.cpuUsage().system / 1000;
const [wallMs, cpuMs]: [number[], number[]] = [[], []];
for (let step = 0; step < DECODED; step++) {
  const [wall, used] = [performance.now(), cpu()];
  await generator.feed(state, [[step + 1000]]);
  wallMs.push(performance.now() - wall);
  cpuMs.push(cpu() - used);
}
for (let round = 0; round < 2; round++) {
  globalThis.gc?.();
  await new Promise((resolve) => setTimeout(resolve, 100));
}
const status = await readFile('/proc/self/status', 'utf8');
const bytes = Object.values(decodeBytes(held.model, length, 'float32')).reduce((a, b) => a + b);
console.log(
  JSON.stringify({
    length,
    anonymous: Number(/RssAnon:\s+(\d+) kB/.exec(status)?.[1]) * 1024,
    stateBytes: stateBytes(held.model, length, 'float32'),
    bytesPerToken: bytes,
    wallMs: wallMs.slice(4),
    cpuMs: cpuMs.slice(4),
  }),
);
await generator.close();
await engine.close();
