// npm run bench -- lm-eval: lm-evaluation-harness against `lfm serve`, in `exact` numerics, beside its own hf model over
// transformers, on the same weights and items. Exits with 1 where an item's score differs.
import { execFile, spawn } from 'node:child_process';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { brotliDecompressSync } from 'node:zlib';
import { load } from '../src/generate/load.ts';
import { serve } from '../src/serve/index.ts';
import { hasRealModel, REAL_MODEL } from '../test/real-model.ts';
import { ROOT } from '../test/root.ts';
import { describeRun } from './machine.ts';
import { chosen } from './options.ts';

const files: Readonly<Record<string, string>> = {
  arc_easy: 'ai2_arc/ARC-Easy/test.jsonl.br',
  hellaswag: 'hellaswag/validation.jsonl.br',
  lambada: 'lambada_openai/test.jsonl.br',
  gsm8k: 'gsm8k/test.jsonl.br',
};
const FOLDER = join(ROOT, '.cache/lm-eval');
const CONTEXTS = 768 * 2 ** 20;

const help = `npm run bench -- lm-eval [OPTION...]
  --items N       items of each task (default 100)
  --tasks A,B     of ${Object.keys(files).join(', ')} (default: all)
  --data FOLDER   the benchmarks' files (default ../shared/data/benchmarks)
  --python PATH   a Python with bench/rivals/requirements.txt and tools/oracles/requirements-lm-eval.txt
  --threads N     of each side (default 1)
  --resume        go on with the server's answers of the last run; those of transformers are always kept`;

/** An item of a task as lm_eval_scores.py writes it. */
interface Item {
  readonly task: string;
  readonly item: number;
  /** [log-likelihood, whether it is what greedy decoding gives], or a text, for each request. */
  readonly answers: readonly (readonly [number, boolean] | string)[];
  readonly acc?: number;
  readonly acc_norm?: number;
  readonly exact_match?: number;
}

interface Scores {
  readonly seconds: number;
  readonly harness: string;
  readonly results: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly items: readonly Item[];
}

export async function benchLmEval(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      items: { type: 'string', default: '100' },
      tasks: { type: 'string' },
      data: { type: 'string', default: join(ROOT, '../shared/data/benchmarks') },
      python: { type: 'string', default: join(ROOT, '.cache/rivals-venv/bin/python') },
      threads: { type: 'string', default: '1' },
      resume: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return console.log(help);
  const tasks = chosen('task', values.tasks, Object.keys(files));
  const skipped = await whatIsMissing(values.python, values.data);
  if (skipped !== undefined) return console.log(`skipped: ${skipped}`);
  await mkdir(FOLDER, { recursive: true });
  for (const task of tasks) {
    const packed = await readFile(join(values.data, files[task] ?? ''));
    await writeFile(join(FOLDER, `${task}.jsonl`), brotliDecompressSync(packed));
  }
  const score = (out: string, words: readonly string[]) =>
    runHarness(values.python, [out, '--tasks', tasks.join(','), '--items', values.items, ...words]);
  const theirs = await score('hf.out', ['--hf', REAL_MODEL, '--threads', values.threads]);
  if (!values.resume) await rm(join(FOLDER, 'lfm.out.sqlite_rank0.db'), { force: true });
  const ours = await scoreServed(values.threads, (url) => score('lfm.out', ['--server', url, '--model', 'real-model']));
  const rows = tasks.map((task) => compare(task, theirs, ours));
  const record = {
    ...(await describeRun('lm-eval')),
    command: `npm run bench -- lm-eval ${argv.join(' ')}`.trim(),
    harness: ours.harness,
    seconds: { transformers: theirs.seconds, lfm: ours.seconds },
    rows,
  };
  if (values.json) console.log(JSON.stringify(record, undefined, 2));
  else {
    console.table(rows);
    console.log(
      `lm_eval ${ours.harness}: ${theirs.seconds} s with transformers (less what was kept of earlier runs), ${ours.seconds} s with lfm`,
    );
  }
  if (rows.some(({ items, sameScores }) => sameScores < items)) process.exitCode = 1;
}

async function whatIsMissing(python: string, data: string): Promise<string | undefined> {
  if (!hasRealModel) return 'tools/real-model.sh fetches the model; it is not here';
  const read = await readFile(join(data, files['arc_easy'] ?? '')).catch(() => undefined);
  if (!read) return `the benchmarks' files are not in ${data}`;
  const version = await promisify(execFile)(python, [
    '-c',
    'import importlib.metadata as m; print(m.version("lm_eval"))',
  ])
    .then(({ stdout }) => stdout.trim())
    .catch(() => '');
  const wanted = /lm_eval\[api\]==(\S+)/.exec(
    await readFile(join(ROOT, 'tools/oracles/requirements-lm-eval.txt'), 'utf8'),
  )?.[1];
  if (version === wanted) return undefined;
  return `${python} has not lm_eval ${wanted}: bash bench/rivals/setup.sh, then pip install -r tools/oracles/requirements-lm-eval.txt with its pip`;
}

async function scoreServed(threads: string, score: (url: string) => Promise<Scores>): Promise<Scores> {
  await using server = await serve({
    port: 0,
    models: [
      {
        name: 'real-model',
        load: (signal) =>
          load(REAL_MODEL, {
            engine: { name: 'onnx', threads: Number(threads) },
            numerics: 'exact',
            cacheBytes: CONTEXTS,
            signal,
          }),
      },
    ],
  });
  await server.ready;
  return await score(server.url);
}

/** Runs the script in the folder of the tasks' data; what it says goes to standard error. */
async function runHarness(python: string, words: readonly string[]): Promise<Scores> {
  const script = join(ROOT, 'tools/oracles/lm_eval_scores.py');
  const child = spawn(resolve(python), [script, ...words], { cwd: FOLDER, stdio: ['ignore', 2, 2] });
  const code = await new Promise<number | null>((done, fail) => {
    child.on('error', fail);
    child.on('exit', done);
  });
  if (code !== 0) throw new Error(`lm_eval_scores.py ${words.join(' ')} ended with ${code}; its output is above.`);
  const [first = '', ...rest] = (await readFile(join(FOLDER, words[0] ?? ''), 'utf8')).trim().split('\n');
  const { seconds, harness, results } = JSON.parse(first) as Omit<Scores, 'items'>;
  return { seconds, harness, results, items: rest.map((line) => JSON.parse(line) as Item) };
}

function compare(task: string, theirs: Scores, ours: Scores) {
  const name = `local_${task}`;
  const of = ({ items }: Scores) => items.filter((item) => item.task === name);
  const [expected, found] = [of(theirs), of(ours)];
  let [sameScores, sameGreedy, sameTexts, requests, furthest] = [0, 0, 0, 0, 0];
  for (const [i, item] of found.entries()) {
    const other = expected[i];
    if (other?.item !== item.item) continue;
    if ((['acc', 'acc_norm', 'exact_match'] as const).every((metric) => item[metric] === other[metric])) sameScores++;
    for (const [k, answer] of item.answers.entries()) {
      const right = other.answers[k];
      requests++;
      if (typeof answer === 'string' || typeof right !== 'object') {
        if (answer === right) sameTexts++;
        continue;
      }
      if (answer[1] === right[1]) sameGreedy++;
      furthest = Math.max(furthest, Math.abs(answer[0] - right[0]));
    }
  }
  const metric = (scores: Scores) => {
    const { 'acc,none': acc, 'exact_match,none': match, 'perplexity,none': perplexity } = scores.results[name] ?? {};
    return { score: acc ?? match, ...(typeof perplexity === 'number' && { perplexity }) };
  };
  const [a, b] = [metric(theirs), metric(ours)];
  return {
    task,
    items: expected.length,
    requests,
    transformers: a.score,
    lfm: b.score,
    sameScores,
    ...(sameTexts > 0 ? { sameTexts } : { sameGreedy, furthestLogprob: Number(furthest.toExponential(1)) }),
    ...(a.perplexity !== undefined && { perplexities: `${a.perplexity.toFixed(5)} / ${b.perplexity?.toFixed(5)}` }),
  };
}
