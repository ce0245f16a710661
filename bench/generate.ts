// npm run bench -- generate: lfm and node-llama-cpp on the same files, in turns, so that whatever else the machine does meets
// them alike. Ratios are of rates: above 1, lfm is faster.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { numericsNames } from '../src/generate/weights.ts';
import { hasRealModel, REAL_MODEL } from '../test/real-model.ts';
import type { LongOptions } from './generate-long.ts';
import { drawLong, measureLong, slopeRatio } from './generate-long.ts';
import { measures } from './generate-measures.ts';
import type { Row } from './generate-measures.ts';
import { writeRandomModel } from './generate-model.ts';
import type { Clock } from './generate-side.ts';
import { Side } from './generate-side.ts';
import { describeRun } from './machine.ts';
import { chosen } from './options.ts';
import { prepareLlama } from './rivals.ts';

const CONTEXT = 4096 + 128;
const MODELS = ['smollm2-135m', 'lfm2-350m'] as const;
const usage = `npm run bench -- generate [OPTION...]
  --model NAMES     of ${MODELS.join(', ')}
  --only NAMES      of ${Object.keys(measures).join(', ')}
  --numerics NAMES  of ${numericsNames.join(', ')} (default: stable,fast)
  --rounds N        (default: 3)
  --threads N       (default: 2)
  --clock NAME      wall, or cpu: each process's own time, for a machine that others use; then --threads 1 (default: wall)
  --long            time of a token and memory from 1K to 32K tokens, lfm alone, in the first of the modes
  --svg FILE        with --long: the picture
  --json            all of it as JSON`;

/** Prints a table, or with --json all of it. */
export async function benchGenerate(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      help: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      model: { type: 'string' },
      only: { type: 'string' },
      numerics: { type: 'string', default: 'stable,fast' },
      rounds: { type: 'string', default: '3' },
      threads: { type: 'string', default: '2' },
      clock: { type: 'string', default: 'wall' },
      long: { type: 'boolean', default: false },
      svg: { type: 'string' },
    },
  });
  if (values.help) return console.log(usage);
  const wanted = chosen('measure', values.only, Object.keys(measures));
  const numerics = chosen('numeric mode', values.numerics, numericsNames);
  const clock: Clock = values.clock === 'cpu' ? 'cpu' : 'wall';
  if (values.clock !== clock) throw new Error(`--clock: expected wall or cpu; found "${values.clock}".`);
  const common = { threads: Number(values.threads), clock, rounds: Number(values.rounds) };
  const command = `npm run bench -- generate ${argv.join(' ')}`.trim();
  if (values.long) return benchLong({ ...common, numerics: numerics[0] ?? 'stable' }, { ...values, command });
  const llama = await prepareLlama();
  if (llama.skipped !== undefined) console.error(`${llama.skipped}: lfm runs alone.`);
  const folder = await mkdtemp(join(tmpdir(), 'lfm-generate-'));
  const rows: Row[] = [];
  const versions: Record<string, string> = {};
  try {
    for (const name of chosen('model', values.model, MODELS)) {
      const path = name === 'smollm2-135m' ? REAL_MODEL : join(folder, 'random.gguf');
      if (name === 'lfm2-350m') await writeRandomModel(path);
      else if (!hasRealModel) {
        console.error(`${name} is left out: tools/real-model.sh fetches it.`);
        continue;
      }
      const settings = { threads: common.threads, clock, contextLength: CONTEXT };
      const sides = [
        ...(llama.skipped === undefined ? [await Side.start('node-llama-cpp', path, settings)] : []),
        ...(await Promise.all(numerics.map((mode) => Side.start(mode, path, { ...settings, numerics: mode })))),
      ];
      try {
        for (const side of sides) versions[side.name] = side.version;
        for (const what of wanted) {
          console.error(`${name}: ${what} …`);
          const found = await measures[what]?.(sides, { rounds: common.rounds, model: name });
          rows.push(...(found ?? []));
        }
      } finally {
        for (const side of sides) side.end();
      }
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  const record = {
    ...(await describeRun('generate')),
    command,
    versions,
    rows,
  };
  if (values.json) console.log(JSON.stringify(record, undefined, 2));
  else console.table(rows.map(shown));
}

async function benchLong(
  options: LongOptions,
  { json, svg, command }: { readonly json: boolean; readonly svg?: string; readonly command: string },
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'lfm-generate-'));
  try {
    const path = join(folder, 'random.gguf');
    await writeRandomModel(path);
    const points = await measureLong(path, options);
    if (svg !== undefined) await drawLong(svg, points, options.clock);
    const memorySlope = slopeRatio(points);
    if (json)
      console.log(JSON.stringify({ ...(await describeRun('generate')), command, points, memorySlope }, undefined, 2));
    else {
      console.table(points);
      console.log(`memory's slope from 4K on: ${memorySlope.toFixed(3)} of what is predicted`);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** A row of the table: each side's figure, then its rate over the rival's. */
function shown({ model, what, unit, values, ratios, shares }: Row): Record<string, string> {
  const digits = (value: number) => (value >= 100 ? value.toFixed(0) : value.toFixed(2));
  const named = (kind: string, figures: Readonly<Record<string, number>> = {}) =>
    Object.fromEntries(Object.entries(figures).map(([name, value]) => [`${name}${kind}`, digits(value)]));
  return {
    model,
    what: `${what}, ${unit}`,
    ...named('', values),
    ...named(' ratio', ratios),
    ...named(' of bandwidth', shares),
  };
}
