// Packs the library, installs the tarball in an empty folder outside the repository, and uses it as a stranger would:
// types under both module resolutions, a run on Node, the `lfm` command, the linters of packages, and the examples.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as z from 'zod';
import { testExamples } from './test-examples.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MOST_BYTES = 25_000_000;

const Packed = z.array(
  z.object({
    filename: z.string(),
    size: z.number(),
    files: z.array(z.object({ path: z.string(), size: z.number() })),
  }),
);

function run(cwd: string, command: string, ...args: string[]): string {
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' };
  return execFileSync(command, args, { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}

/** Runs a command of the repository's own node_modules, such as `tsc`; what it found is the error. */
function runTool(cwd: string, name: string, ...args: string[]): void {
  check(cwd, name, join(ROOT, 'node_modules/.bin', name), ...args);
}

function check(cwd: string, name: string, command: string, ...args: string[]): void {
  try {
    run(cwd, command, ...args);
  } catch (error) {
    const output = error instanceof Error && 'stdout' in error ? String(error.stdout) : String(error);
    fail(`${name} ${args.join(' ')} found problems\n${output}`);
  }
}

function fail(message: string): never {
  throw new Error(message);
}

/** Builds and packs into `folder`; checks what is in the tarball and how large it is. */
function pack(folder: string): string {
  run(ROOT, 'npm', 'run', 'build');
  const output = run(ROOT, 'npm', 'pack', '--json', '--ignore-scripts', '--pack-destination', folder);
  const [packed] = Packed.parse(JSON.parse(output));
  if (!packed) fail('npm pack made no tarball');
  const allowed = /^(dist|recipes|weights|web)\/|^(package\.json|README\.md|LICENSE|CHANGELOG\.md)$/;
  const strays = packed.files.filter(({ path }) => !allowed.test(path) || /\.test\.|\.map$/.test(path));
  if (strays.length > 0) fail(`the tarball holds ${strays.map(({ path }) => path).join(', ')}`);
  console.log(
    `packed: ${packed.files.length} files, ${(packed.size / 1e6).toFixed(2)} MB (at most ${MOST_BYTES / 1e6})`,
  );
  if (packed.size > MOST_BYTES) fail(`the tarball is ${packed.size} bytes, more than ${MOST_BYTES}`);
  return join(folder, packed.filename);
}

/** The data package of the model that chats. */
function packModel(folder: string): string {
  const output = run(join(ROOT, 'weights/brook-123m'), 'npm', 'pack', '--json', '--pack-destination', folder);
  const [packed] = Packed.parse(JSON.parse(output));
  if (!packed) fail('npm pack made no tarball of weights/brook-123m');
  const names = packed.files.map(({ path }) => path);
  for (const name of ['README.md', 'LICENSE', 'model.safetensors', 'tokenizer.json'])
    if (!names.includes(name)) fail(`the data package lacks ${name}`);
  console.log(`packed: brook-123m, ${names.length} files, ${(packed.size / 1e6).toFixed(1)} MB`);
  return join(folder, packed.filename);
}

function install(folder: string, ...tarballs: readonly string[]): void {
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'consumer', private: true, type: 'module' }));
  run(folder, 'npm', 'install', '--prefer-offline', '--no-audit', '--no-fund', ...tarballs);
  const installed = z.record(z.string(), z.unknown());
  const lock = z
    .object({ packages: installed })
    .parse(JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8')));
  console.log(
    `installed: ${Object.keys(lock.packages).length - 1} packages, ${run(folder, 'du', '-sm', 'node_modules').split('\t')[0]} MB`,
  );
}

/** Type-checks under one resolution; `nodenext` also emits the JavaScript that is run afterwards. */
function checkTypes(folder: string, resolution: 'nodenext' | 'bundler'): void {
  const compilerOptions = {
    target: 'es2023',
    lib: ['es2023', 'esnext.disposable', 'dom'],
    types: [],
    module: resolution === 'bundler' ? 'preserve' : 'nodenext',
    moduleResolution: resolution,
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    noEmit: resolution === 'bundler',
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['consumer.ts'] }));
  runTool(folder, 'tsc');
  console.log(`types: clean under ${resolution}`);
}

const folder = mkdtempSync(join(tmpdir(), 'lfm-package-'));
try {
  const tarball = pack(folder);
  runTool(ROOT, 'publint', 'run', tarball, '--strict');
  // Not among the project's own dependencies: it would be a twentieth of what they take on disk.
  check(ROOT, 'attw', 'npx', '--yes', '@arethetypeswrong/cli@0.18.5', tarball, '--profile', 'esm-only');
  console.log('publint and attw: clean');
  install(folder, tarball, packModel(folder));
  cpSync(join(ROOT, 'tools/consumer/consumer.ts'), join(folder, 'consumer.ts'));
  checkTypes(folder, 'bundler');
  checkTypes(folder, 'nodenext');
  console.log(`consumer: ${run(folder, process.execPath, 'consumer.js').trim()}`);
  await testExamples(folder);
  console.log(`lfm --version: ${run(folder, join(folder, 'node_modules/.bin/lfm'), '--version').trim()}`);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
