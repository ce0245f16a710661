// One measurement of bench/memory.ts on the engine onnx, in a process of its own: what it holds with a state of LENGTH tokens,
// all of whose rows are in use, after tokens were decoded at its end. Prints JSON.
//
//   node --expose-gc … bench/memory-run.ts CONFIG_JSON LENGTH
import { readFile } from 'node:fs/promises';
import type { Buffer } from '../src/engines/engine.ts';
import { openEngine } from '../src/engines/default.node.ts';
import { Generator } from '../src/generate/generator.ts';
import { stateTypes } from '../src/liquid/index.ts';
import { lfm2 } from '../src/models/lfm2.ts';
import type { Lfm2Config } from '../src/models/lfm2.ts';
import { countOf } from '../src/tensor/index.ts';

const DECODED = 8;
const [config = '', tokens = ''] = process.argv.slice(2);
const length = Number(tokens);
const model = lfm2(JSON.parse(config) as Lfm2Config);
const engine = await openEngine({ name: 'onnx', threads: 2 });
// Numbers of no meaning, but none of them zero: a page of zeros may be no memory.
function filled(shape: readonly number[]): Float32Array {
  const values = new Float32Array(countOf(shape));
  for (let index = 0; index < values.length; index++) values[index] = ((index * 7919) % 1009) * 4e-5 - 0.02;
  return values;
}
/** Twice, with time between: what foreign memory hangs on is let go of after the first. */
async function collectGarbage(): Promise<void> {
  for (let round = 0; round < 2; round++) {
    globalThis.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
const weights: Record<string, Buffer> = {};
for (const [name, { shape }] of Object.entries(model.parameters))
  weights[name] = await engine.upload('float32', shape, filled(shape));
const generator = new Generator(engine, model, weights, { capacities: [length] });
const state = await generator.open(length);
for (const [name, { shape }] of Object.entries(stateTypes(model, { batch: 1, capacity: state.capacity }))) {
  const key = `state.${name}`;
  state.buffers[key]?.dispose();
  state.buffers = {
    ...state.buffers,
    [key]: await engine.upload('float32', shape.map(Number), filled(shape.map(Number))),
  };
}
state.lengths[0] = length - DECODED;
for (let step = 0; step < DECODED; step++) await generator.feed(state, [[step]]);
await collectGarbage();
const status = await readFile('/proc/self/status', 'utf8');
const anonymous = Number(/RssAnon:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
console.log(JSON.stringify({ anonymous, capacity: state.capacity }));
await generator.close();
await engine.close();
