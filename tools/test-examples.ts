// Runs each project of examples/, and test/with-transformers, as the project of its own that it is, with the packed library of
// tools/test-package.ts. The small ones always; with LFM_FULL=1 those with large dependencies, a browser or another Node.
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as z from 'zod';
import { scriptedModel, startServer } from '../src/serve/testing.node.ts';
import { findChromium, openChromium } from '../test/chromium.ts';
import { ROOT } from '../test/root.ts';
import { fetchNode } from './node-versions.ts';

const { LFM_FULL } = process.env;
const manifest = z.looseObject({ dependencies: z.record(z.string(), z.string()) });

/** `folder` holds the installed library. */
export async function testExamples(folder: string): Promise<void> {
  checkTypes(copyOf(folder, 'examples/own-operator'));
  ownOperator(folder);
  const script = copyOf(folder, 'examples/node-script');
  checkTypes(script);
  expectText(
    'node-script',
    run(script, process.execPath, 'main.js'),
    /\d+ tokens after \d+, ended by \w+.*\nThe sky is blue/s,
  );
  const file = copyOf(folder, 'examples/own-file');
  checkTypes(file);
  expectText(
    'own-file',
    run(file, process.execPath, 'main.js'),
    /step 1: loss 6\.\d+\n.*step 120: loss [0-4]\.\d+\n"I./s,
  );
  if (!LFM_FULL) return console.log('ai-sdk, vite-tab and with-transformers: skipped without LFM_FULL=1');
  await aiSdk(folder);
  await viteTab(folder);
  withTransformers(folder);
}

function ownOperator(folder: string): void {
  const project = join(folder, 'own-operator');
  const said = run(project, process.execPath, 'main.js').trim();
  const losses = [...said.matchAll(/loss ([\d.]+)/g)].map(([, loss]) => Number(loss));
  const [first = 0, last = Infinity] = [losses[0], losses.at(-1)];
  if (!(last < first - 2))
    throw new Error(`own-operator: the loss went from ${first} to ${last}; expected it to fall by more than 2`);
  console.log(`own-operator: ${said}`);
  const lfm = join(folder, 'node_modules/.bin/lfm');
  expectText('lfm inspect', run(project, lfm, '--import', './ema.js', 'inspect', 'mine'), /ema, swiglu/);
  expectText(
    'lfm generate',
    run(project, lfm, '--import', './ema.js', 'generate', 'mine', 'Alice', '--max-tokens', '8'),
    /\w/,
  );
}

/** `ai` wants Node 22. */
async function aiSdk(folder: string): Promise<void> {
  const node = fetchNode('22');
  if (!node) return console.log('!!! AI-SDK SKIPPED: NO NODE 22');
  const project = copyOf(folder, 'examples/ai-sdk');
  installRest(project);
  cpSync(join(ROOT, 'tools/consumer/ai-sdk.ts'), join(project, 'check.ts'));
  checkTypes(project, 'check.ts');
  expectText(
    'ai-sdk',
    run(project, node, 'main.js'),
    /generateText: .*streamText:.*an object: \{"city":.*tools: no call/s,
  );
  const fixture = readFileSync(join(ROOT, 'test/fixtures/chat/templates.json'), 'utf8');
  const { templates } = z.object({ templates: z.object({ 'lfm2.5': z.string() }) }).parse(JSON.parse(fixture));
  const scripted = await scriptedModel(templates['lfm2.5']);
  const server = await startServer({ models: [{ name: 'scripted', load: async () => scripted.model }] });
  try {
    scripted.say(
      '<|tool_call_start|>[weather(city="Paris")]<|tool_call_end|>',
      'Rain in Paris.',
      '<think>Rome now.</think><|tool_call_start|>[weather(city="Rome")]<|tool_call_end|>',
      'Sun in Rome.',
      '{"city": "Oslo", "people": 700000}',
    );
    const env = { ...process.env, LFM_URL: `${server.url}/v1` };
    const { stdout } = await promisify(execFile)(node, ['check.js'], { cwd: project, env });
    console.log(stdout.trim());
    const { running, waiting } = scripted.model.scheduler.load;
    if (running + waiting > 0) throw new Error('ai-sdk: a text that was aborted still runs');
  } finally {
    await server.close(0);
  }
}

/** The page with the headers that threads need, and without them. */
async function viteTab(folder: string): Promise<void> {
  const chromium = findChromium();
  if (!chromium) return;
  const project = copyOf(folder, 'examples/vite-tab');
  installRest(project);
  checkTypes(project);
  run(project, 'npm', 'run', 'build');
  // Its answer is short and sure: the tab's arithmetic rounds otherwise, which turns texts that are less so.
  const prompt = 'What is the capital of France?';
  const code = `import { load } from 'lfm'; const model = await load('brook-123m'); console.log((await model.chat([{ role: 'user', content: '${prompt}' }], { maxTokens: 40, temperature: 0 })).text)`;
  const expected = run(folder, process.execPath, '--input-type=module', '-e', code).replace(/\n$/, '');
  const browser = await openChromium(chromium);
  try {
    for (const [isolated, engine] of [
      ['1', /WebAssembly, \d+ threads/],
      ['0', /WebAssembly, 1 thread.*isolat/],
    ] as const) {
      const server = await previewOf(project, isolated);
      const page = await browser.newPage();
      page.on('pageerror', (error) => console.log(`[page] ${error.message}`));
      await page.goto(server.url);
      await page.locator('button:not([disabled])').waitFor({ timeout: 120_000 });
      expectText('vite-tab', (await page.locator('#state').textContent()) ?? '', engine);
      await page.locator('input').fill(prompt);
      await page.locator('button').click();
      await page.locator('#text[data-finish]').waitFor({ timeout: 120_000 });
      const said = await page.locator('#text').textContent();
      if (said !== expected) throw new Error(`vite-tab: expected ${expected}; found ${said}`);
      await page.close();
      server.child.kill();
    }
  } finally {
    await browser.close();
  }
}

/** In a process of its own, which does not see lfm's sources. */
async function previewOf(
  project: string,
  isolated: string,
): Promise<{ readonly url: string; readonly child: ChildProcess }> {
  const vite = join(project, 'node_modules/vite/bin/vite.js');
  const child = spawn(process.execPath, [vite, 'preview', '--host', '127.0.0.1'], {
    cwd: project,
    env: { ...process.env, ISOLATED: isolated, NO_COLOR: '1', FORCE_COLOR: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  process.once('exit', () => child.kill());
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => (said += piece));
  for (;;) {
    const url = /http:\/\/127\.0\.0\.1:\d+\//.exec(said)?.[0];
    if (url !== undefined) return { url, child };
    await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
    if (child.exitCode !== null) throw new Error(`vite preview ended: ${said}`);
  }
}

function withTransformers(folder: string): void {
  const project = copyOf(folder, 'test/with-transformers');
  installRest(project);
  run(project, join(folder, 'node_modules/.bin/lfm'), 'convert', 'brook-7m', '--to', 'onnx', '--out', 'brook-onnx');
  for (const order of ['lfm-first', 'transformers-first'])
    expectText('with-transformers', run(project, process.execPath, 'main.js', order), /the same tokens/);
  if (process.platform === 'linux')
    expectText('with-transformers', run(project, process.execPath, 'older.js'), /both ran, .* 1\.21\.0/);
}

/** Beside the installed library and its data package, which it finds there; without them among its dependencies. */
function copyOf(folder: string, path: string): string {
  const project = join(folder, path.replace(/.*\//, ''));
  cpSync(join(ROOT, path), project, {
    recursive: true,
    filter: (file) => !/(node_modules|mine|public|dist|brook-onnx|package-lock\.json)$/.test(file),
  });
  const { dependencies, ...rest } = manifest.parse(JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')));
  const { lfm, '@lfm/brook-123m': _, ...others } = dependencies;
  if (lfm !== 'file:../..') throw new Error(`${path}: expected lfm to be taken from the repository, found ${lfm}`);
  writeFileSync(join(project, 'package.json'), JSON.stringify({ ...rest, dependencies: others }));
  return project;
}

function installRest(project: string): void {
  run(project, 'npm', 'install', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts');
}

/** `compiled`: a file that is made JavaScript, too. */
function checkTypes(project: string, compiled?: string): void {
  const compilerOptions = {
    target: 'es2023',
    lib: ['es2023', 'esnext.disposable', 'dom', 'dom.iterable'],
    types: ['node'],
    typeRoots: [join(ROOT, 'node_modules/@types')],
    module: 'nodenext',
    strict: true,
    skipLibCheck: true,
    ...(compiled ? {} : { allowJs: true, checkJs: true, noEmit: true }),
  };
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: [compiled ?? 'main.js'] }));
  run(project, join(ROOT, 'node_modules/.bin/tsc'));
}

function run(cwd: string, command: string, ...args: string[]): string {
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' };
  try {
    return execFileSync(command, args, { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    const output = error instanceof Error && 'stdout' in error ? `${String(error.stdout)}\n` : '';
    throw new Error(`${cwd}: ${command} ${args.join(' ')} failed\n${output}${String(error)}`, { cause: error });
  }
}

function expectText(what: string, found: string, expected: RegExp): void {
  if (!expected.test(found)) throw new Error(`${what}: expected ${expected}; found\n${found}`);
  console.log(`${what}: ${found.trim().split('\n').at(-1)}`);
}
