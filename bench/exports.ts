// npm run bench -- exports: what lfm exports, loaded by others: the same greedy tokens, or the tie where they part; and
// loading the real GGUF beside node-llama-cpp. Exits with 1 where an export does not hold.
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { convertToFolder } from '../src/generate/convert-folder.node.ts';
import { convertToGguf } from '../src/generate/convert-gguf.node.ts';
import { convertToOnnx } from '../src/generate/convert-onnx.node.ts';
import { load } from '../src/generate/load.ts';
import type { LanguageModel } from '../src/generate/model.ts';
import { quantizeModel } from '../src/generate/quantize.node.ts';
import { openSource } from '../src/generate/source.node.ts';
import { hasRealModel, REAL_MODEL } from '../test/real-model.ts';
import { ROOT } from '../test/root.ts';
import { measureLoading } from './exports-loading.ts';
import { describeRun } from './machine.ts';
import type { Rival } from './rivals.ts';
import { lastLine, prepareLlama } from './rivals.ts';

const run = promisify(execFile);
const TOKENS = 64;
/** A difference of scores below this share of their range is a tie within float32's rounding over a model's depth. */
const TIE = 1e-4;
const TEXTS = ['Once upon a time', 'The old miller said that', 'In the year 1851 there were'];

export interface Check {
  readonly model: string;
  readonly loadedBy: string;
  /** Prompts of which all tokens agree. */
  readonly same: number;
  readonly prompts: number;
  /** Where rows part: the first position, and by how much of their range our two scores differ there. */
  readonly partings: readonly { readonly prompt: number; readonly at: number; readonly gap: number }[];
  readonly holds: boolean;
  readonly skipped?: string;
}

/** Prints a table, or with --json all of it. */
export async function benchExports(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: { json: { type: 'boolean', default: false }, rounds: { type: 'string', default: '3' } },
  });
  const llama = await prepareLlama();
  const python = await preparePython();
  const checks: Check[] = [];
  for (const [title, name] of [
    ['brook-7m', 'brook-7m'],
    ['SmolLM2-135M-Instruct', hasRealModel ? REAL_MODEL : ''],
  ]) {
    if (!title) continue;
    if (!name) {
      checks.push({ ...skippedCheck(title, 'all'), skipped: 'tools/real-model.sh fetches it; it is not here' });
      continue;
    }
    checks.push(...(await checkModel(title, name, { llama, python })));
  }
  const loading =
    hasRealModel && llama.skipped === undefined ? await measureLoading(REAL_MODEL, Number(values.rounds)) : undefined;
  const record = {
    ...(await describeRun('exports')),
    command: `npm run bench -- exports ${argv.join(' ')}`.trim(),
    checks,
    loading,
  };
  if (values.json) console.log(JSON.stringify(record, undefined, 2));
  else {
    console.table(checks.map(({ partings, ...rest }) => ({ ...rest, partings: partings.map(showParting).join('; ') })));
    if (loading) console.table(loading);
  }
  if (checks.some(({ holds, skipped }) => !holds && skipped === undefined)) process.exitCode = 1;
}

const showParting = ({ prompt, at, gap }: Check['partings'][number]) =>
  `prompt ${prompt} at ${at}: ${gap.toExponential(1)}`;

function skippedCheck(model: string, loadedBy: string): Check {
  return { model, loadedBy, same: 0, prompts: 0, partings: [], holds: false };
}

async function preparePython(): Promise<Rival> {
  try {
    const { stdout } = await run('bash', [join(ROOT, 'bench/rivals/setup.sh')], { maxBuffer: 2 ** 26 });
    return { command: join(stdout.trim(), 'bin', 'python') };
  } catch (error) {
    return { skipped: lastLine(error) };
  }
}

interface Answer {
  readonly version: string;
  readonly tokens: readonly (readonly number[])[];
  readonly encoded?: readonly (readonly number[])[];
}

async function ask(command: string, words: readonly string[]): Promise<Answer> {
  const child = run(command, words, { cwd: ROOT, maxBuffer: 2 ** 26 });
  child.child.stdin?.end();
  const { stdout } = await child;
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Answer;
}

async function checkModel(title: string, name: string, { llama, python }: Record<'llama' | 'python', Rival>) {
  const folder = await mkdtemp(join(tmpdir(), 'lfm-exports-'));
  // One thread each: several wait for each other where the machine does other work, and tokens are all that counts here.
  await using model = await load(name, { engine: { name: 'onnx', threads: 1 } });
  try {
    const source = await openSource(name);
    const [gguf, onnx, plain] = [join(folder, 'model.gguf'), join(folder, 'onnx'), join(folder, 'folder')];
    await convertToGguf(source, gguf, { type: 'F32' });
    await convertToOnnx(source, onnx);
    await convertToFolder(source, plain);
    await source.weights.close();
    const prompts = TEXTS.map((text) => [...model.tokenizer.encode(text)]);
    const ours: number[][] = [];
    for (const prompt of prompts) ours.push(await greedy(model, prompt));
    const asked = JSON.stringify({ prompts, texts: TEXTS, tokens: TOKENS, threads: 1 });
    const rivals: [string, string | undefined, string[], string | undefined][] = [
      ['node-llama-cpp', llama.command, [join('bench/rivals/node-llama-cpp/generate.mjs'), gguf, asked], llama.skipped],
      ['onnxruntime-node', process.execPath, ['bench/rivals/onnxruntime.mjs', onnx, asked], undefined],
      ['transformers', python.command, ['bench/rivals/greedy_transformers.py', plain, asked], python.skipped],
    ];
    const checks: Check[] = [];
    for (const [rival, command, words, skipped] of rivals) {
      if (command === undefined) {
        checks.push({ ...skippedCheck(title, rival), skipped: skipped ?? 'not installed' });
        continue;
      }
      console.error(`${title} in ${rival} …`);
      try {
        const { version, tokens, encoded } = await ask(command, words);
        checks.push(
          await compare(model, { title, loadedBy: `${rival} ${version}`, prompts, ours, theirs: tokens, encoded }),
        );
      } catch (error) {
        checks.push({ ...skippedCheck(title, `${rival}: ${lastLine(error)}`) });
      }
    }
    for (const type of ['int8', 'int4'] as const) checks.push(await checkPacked(title, name, type, folder));
    return checks;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Packed matrices as ONNX: those that the model comes with, or as `lfm quantize` makes them. */
async function checkPacked(title: string, name: string, type: 'int8' | 'int4', folder: string): Promise<Check> {
  console.error(`${title} in onnxruntime-node, ${type} …`);
  const [packed, onnx] = [join(folder, type), join(folder, `${type}-onnx`)];
  const given = await openSource(name);
  const isPacked = [...given.weights.tensors.values()].some(({ quantized }) => quantized);
  if (!isPacked) await quantizeModel(given, packed, { bits: type === 'int8' ? 8 : 4, block: 32 });
  await given.weights.close();
  const source = await openSource(isPacked ? name : packed);
  await convertToOnnx(source, onnx, { type }).finally(() => source.weights.close());
  await using model = await load(isPacked ? name : packed, { engine: { name: 'onnx', threads: 1 } });
  const prompts = TEXTS.map((text) => [...model.tokenizer.encode(text)]);
  const ours: number[][] = [];
  for (const prompt of prompts) ours.push(await greedy(model, prompt));
  const asked = JSON.stringify({ prompts, texts: TEXTS, tokens: TOKENS, threads: 1 });
  const { version, tokens } = await ask(process.execPath, ['bench/rivals/onnxruntime.mjs', onnx, asked]);
  const loadedBy = `onnxruntime-node ${version}, ${type}`;
  return compare(model, { title, loadedBy, prompts, ours, theirs: tokens, encoded: undefined });
}

async function greedy({ scheduler }: LanguageModel, prompt: readonly number[]): Promise<number[]> {
  const found: number[] = [];
  for await (const { id } of scheduler.generate(prompt, { maxTokens: TOKENS, temperature: 0 })) found.push(id);
  return found;
}

interface Comparison {
  readonly title: string;
  readonly loadedBy: string;
  readonly prompts: readonly (readonly number[])[];
  readonly ours: readonly (readonly number[])[];
  readonly theirs: readonly (readonly number[])[];
  readonly encoded: Answer['encoded'];
}

async function compare(
  { generator }: LanguageModel,
  { title: model, loadedBy, prompts, ours, theirs, encoded }: Comparison,
): Promise<Check> {
  const partings: { prompt: number; at: number; gap: number }[] = [];
  for (const [prompt, row] of ours.entries()) {
    const at = row.findIndex((id, i) => id !== theirs[prompt]?.[i]);
    if (at < 0) continue;
    const state = await generator.open(TOKENS);
    const [logits = new Float32Array()] = await generator.feed(state, [
      [...(prompts[prompt] ?? []), ...row.slice(0, at)],
    ]);
    generator.release(state);
    const score = (id: number | undefined) => logits[id ?? -1] ?? NaN;
    const range = logits.reduce((a, b) => Math.max(a, b)) - logits.reduce((a, b) => Math.min(a, b));
    partings.push({ prompt, at, gap: (score(row[at]) - score(theirs[prompt]?.[at])) / range });
  }
  const same = ours.length - partings.length;
  const readsAlike = encoded === undefined || JSON.stringify(encoded) === JSON.stringify(prompts);
  const holds = readsAlike && partings.every(({ gap }) => gap < TIE);
  return {
    model,
    loadedBy: readsAlike ? loadedBy : `${loadedBy} (tokenizes otherwise)`,
    same,
    prompts: ours.length,
    partings,
    holds,
  };
}
