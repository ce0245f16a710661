// npm run bench -- distilled: a student beside its teacher, in one table: held-out text, benchmarks, instructions, needles, and what
// it costs. Every part is stored as it is done, so that a run that was stopped goes on, and parts may come from several machines.
import { mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import * as z from 'zod';
import { engineNames } from '../src/engines/default.node.ts';
import type { EvaluateOptions } from '../src/evaluate/evaluate.node.ts';
import { evaluate } from '../src/evaluate/evaluate.node.ts';
import { weightsHash } from '../src/evaluate/files.node.ts';
import { writeFileAtomic } from '../src/files/atomic.node.ts';
import { readTextIfPresent } from '../src/files/json.node.ts';
import { numericsNames } from '../src/generate/weights.ts';
import { LfmError } from '../src/tensor/error.ts';
import { ROOT } from '../test/root.ts';
import { measureSpeed, speedSchema } from './distilled-speed.ts';
import type { SideResults } from './distilled-table.ts';
import { languagePart, languages, storedSchema, tableOf } from './distilled-table.ts';
import { describeRun } from './machine.ts';
import { chosen } from './options.ts';

const help = `npm run bench -- distilled --teacher MODEL --student MODEL [OPTION...]
  --data FOLDER    the benchmarks' and RULER's files (default ../shared/data)
  --books FILE     text that neither was trained on; --chats FILE: conversations that the teacher wrote, held out
  --languages FOLDER   of en.txt, es.txt, … (any of the announcement's eight): text that neither was trained on
  --only A,B       measure only these of texts, languages, benchmarks, ifeval, needles, speed (default: all)
  --items N        items of each benchmark, prompts of ifeval (default 1000; ifeval has 541)
  --needles N      questions of each length (default 100)
  --windows N      windows of each text, chats (default 100)
  --engine NAME, --dtype float32|bfloat16, --plugin PATH    for all but speed (default onnx, float32)
  --numerics MODE  of speed (default stable); all else is measured in exact
  --threads N      of speed (default 2)
  --out FOLDER     where results are stored (default .cache/distilled)
  --resume         keep what is stored there, of all parts, and measure the rest of those that are asked for
  --json           print the table as JSON`;

const groups = ['texts', 'languages', 'benchmarks', 'ifeval', 'needles', 'speed'] as const;
const sides = ['teacher', 'student'] as const;

export async function benchDistilled(argv: readonly string[]): Promise<void> {
  try {
    await compareModels(argv);
  } catch (error) {
    if (!(error instanceof LfmError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}

async function compareModels(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      teacher: { type: 'string' },
      student: { type: 'string' },
      data: { type: 'string', default: join(ROOT, '../shared/data') },
      books: { type: 'string' },
      chats: { type: 'string' },
      languages: { type: 'string' },
      only: { type: 'string' },
      items: { type: 'string', default: '1000' },
      needles: { type: 'string', default: '100' },
      windows: { type: 'string', default: '100' },
      engine: { type: 'string', default: 'onnx' },
      dtype: { type: 'string', default: 'float32' },
      plugin: { type: 'string' },
      numerics: { type: 'string', default: 'stable' },
      threads: { type: 'string', default: '2' },
      out: { type: 'string', default: join(ROOT, '.cache/distilled') },
      resume: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const { teacher, student, data, books, chats, out, resume, plugin } = values;
  if (values.help || teacher === undefined || student === undefined) return console.log(help);
  const only = chosen('part', values.only, groups);
  const [engine = ''] = chosen('engine', values.engine, engineNames);
  const [dtype = ''] = chosen('type', values.dtype, ['float32', 'bfloat16']);
  const numerics = numericsNames.find((name) => name === chosen('mode', values.numerics, numericsNames)[0]);
  await mkdir(out, { recursive: true });

  const texts = Object.entries({ books, chats, wikitext: join(data, 'benchmarks/wikitext2/test.txt.br') });
  const spoken = values.languages === undefined ? [] : await languageFiles(values.languages);
  const missing = texts.filter(([, path]) => path === undefined).map(([name]) => name);
  if (only.includes('texts') && missing.length > 0)
    console.error(`not measured, for want of a file: ${missing.join(', ')}`);
  const base = { data, engine: { name: engine, ...(plugin !== undefined && { plugin }) } } as const;
  const common = { ...base, dtype: dtype === 'bfloat16' ? dtype : 'float32', tasks: [], texts: [] } as const;
  const [items, count, windows] = [values.items, values.needles, values.windows].map(Number);
  const plan: Readonly<Record<string, readonly (readonly [string, EvaluateOptions])[]>> = {
    texts: texts.flatMap(([name, path]) =>
      path === undefined ? [] : [[name, { ...common, texts: [path], limit: windows }]],
    ),
    languages: spoken.map(([name, path]) => [name, { ...common, texts: [path], limit: windows }]),
    benchmarks: ['hellaswag', 'arc_easy', 'piqa', 'lambada_openai'].map((task) => [
      task,
      { ...common, tasks: [task], limit: items },
    ]),
    ifeval: [['ifeval', { ...common, tasks: ['ifeval'], limit: items }]],
    needles: ['needle_1k', 'needle_2k', 'needle_4k'].map((task) => [task, { ...common, tasks: [task], limit: count }]),
  };
  const models = { teacher, student };
  const results: Record<(typeof sides)[number], SideResults> = { teacher: {}, student: {} };
  const hashes = { teacher: await weightsHash(teacher), student: await weightsHash(student) };
  for (const [group, parts] of Object.entries(plan))
    for (const [name, options] of parts)
      for (const side of sides) {
        const path = join(out, `${side}-${name}.json`);
        const asked = { weights: hashes[side], items: options.limit ?? 'all' };
        const stored = await kept(path, storedSchema, asked, resume, only.includes(group), () =>
          measured(path, models[side], options, resume),
        );
        if (stored) results[side][name] = stored;
      }
  const asked = { ...hashes, threads: values.threads, numerics };
  const speed = await kept(join(out, 'speed.json'), speedSchema, asked, resume, only.includes('speed'), () =>
    measureSpeed(models, Number(values.threads), numerics ?? 'stable'),
  );
  const rows = tableOf(results, speed);
  const run = { ...(await describeRun('distilled')), command: `npm run bench -- distilled ${argv.join(' ')}` };
  const kinds = Object.values(results).flatMap((parts) =>
    Object.values(parts).map(({ engine: on, dtype: type }) => `${on}, ${type}`),
  );
  const measuredOn = [...new Set([...kinds, ...(speed ? [`${speed.engine} (speed)`] : [])])];
  if (values.json) return console.log(JSON.stringify({ ...run, measuredOn, teacher, student, rows }, undefined, 2));
  console.log('| measure | teacher | student | student to teacher | wanted |\n|---|---|---|---|---|');
  for (const { measure, teacher: theirs, student: ours, ratio, wanted } of rows)
    console.log(`| ${[measure, theirs, ours, ratio, wanted].join(' | ')} |`);
  console.log(`\nMeasured on ${measuredOn.join('; ')}.`);
  console.log(`${run.commit}, ${run.cpu}, ${run.cores} cores, node ${run.node}, load ${run.loadAverage}`);
}

/** By the names of their parts. Errors: `no-data`, where the folder holds none. */
async function languageFiles(folder: string): Promise<(readonly [string, string])[]> {
  const files = (await readdir(folder)).filter((file) =>
    Object.hasOwn(languages, file.replace(/\.txt(\.br|\.gz)?$/, '')),
  );
  if (files.length === 0)
    throw new LfmError(
      'no-data',
      `${folder}: expected ${Object.keys(languages)
        .map((code) => `${code}.txt`)
        .join(', ')}.`,
    );
  return files.map((file) => [languagePart(file.slice(0, 2)), join(folder, file)] as const);
}

/**
 * What a file holds under `resume`, or what is made and then stored there, if it `isWanted`. Errors: `other-settings`, where the file
 * answers another question.
 */
async function kept<T>(
  path: string,
  schema: z.ZodType<T>,
  asked: unknown,
  resume: boolean,
  isWanted: boolean,
  make: () => Promise<T>,
): Promise<T | undefined> {
  const text = resume ? await readTextIfPresent(path) : undefined;
  if (text !== undefined) {
    const stored = z.object({ asked: z.unknown(), found: schema }).parse(JSON.parse(text));
    if (isDeepStrictEqual(stored.asked, JSON.parse(JSON.stringify(asked)))) return stored.found;
    throw new LfmError(
      'other-settings',
      `${path} was measured of ${JSON.stringify(stored.asked)}; asked for is ${JSON.stringify(asked)}: remove it, or choose another --out.`,
    );
  }
  if (!isWanted) return undefined;
  const found = await make();
  await writeFileAtomic(path, `${JSON.stringify({ asked, found })}\n`);
  return found;
}

/** One part of one side; its answers are kept one by one while it runs. */
async function measured(path: string, model: string, options: EvaluateOptions, resume: boolean) {
  const answers = path.replace(/json$/, 'answers.jsonl');
  if (!resume) await rm(answers, { force: true });
  const from = performance.now();
  const found = await evaluate(model, { ...options, out: answers, resume });
  const [part] = Object.values(found.parts);
  console.error(`${basename(path, '.json')}: ${((performance.now() - from) / 1000).toFixed(1)} s`);
  // As it will be read: JSON has null for the error of a single item.
  const { model: shown, engine, dtype } = found;
  return storedSchema.parse(JSON.parse(JSON.stringify({ model: shown, engine, dtype, part })));
}
