// Compile, run, free, many thousand times on the engine xla: no handle may stay alive and memory must stay flat.
//
//   npx tsx --conditions=lfm-source bench/compile-cycles.ts [CYCLES]
import { xlaEngine } from '../src/engines/xla/engine.node.ts';
import { liveHandles } from '../src/engines/xla/handles.ts';
import { add, mul, trace } from '../src/tensor/index.ts';

const cycles = Number(process.argv[2] ?? 10_000);
/** Growth of the resident memory after the first tenth that is no leak. */
const ALLOWED_BYTES = 150e6;

const engine = await xlaEngine({ plugin: 'xla-cpu', cacheFolder: null });
const values = new Float32Array(4096).fill(1);
async function cycle(number: number): Promise<void> {
  const type = { dtype: 'float32', shape: [64, 64] } as const;
  const program = trace('cycle', { x: type }, ({ x }) => ({ y: add(mul(x, x), number) }));
  const executable = await engine.compile(program);
  const x = await engine.upload('float32', [64, 64], values);
  const { y } = await executable.run({ x });
  const found = y && (await engine.download(y));
  if (found?.[0] !== number + 1) throw new Error(`Cycle ${number} gave ${String(found?.[0])}.`);
  for (const buffer of [x, y]) buffer?.dispose();
  executable.release();
}

const start = performance.now();
/** Resident memory after each tenth. */
const resident: number[] = [];
for (let number = 0; number < cycles; number++) {
  await cycle(number);
  if ((number + 1) % Math.ceil(cycles / 10) === 0) resident.push(process.memoryUsage().rss);
}
const grown = (resident.at(-1) ?? 0) - (resident[0] ?? 0);
while (liveHandles().events > 0) await new Promise((resolve) => setImmediate(resolve));
const handles = { ...liveHandles() };
await engine.close();
const flat = grown < ALLOWED_BYTES;
const freed = handles.executables === 0 && handles.buffers === 0 && Object.values(liveHandles()).every((n) => n === 0);
console.log(
  JSON.stringify({
    cycles,
    seconds: (performance.now() - start) / 1000,
    grownBytes: grown,
    resident,
    handles,
    flat,
    freed,
  }),
);
if (!flat || !freed) process.exitCode = 1;
