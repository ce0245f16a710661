// The order of the folders under src/, which is the architecture: a folder imports only what stands before it.
import { builtinModules } from 'node:module';
import { describe, expect, it } from 'vitest';
import { parseSource, readSources, type Source } from './sources.ts';

const ORDER = [
  ['tensor', 'host', 'engines', 'files', 'data', 'text', 'audio', 'image', 'series', 'liquid', 'models'],
  ['generate', 'train', 'evaluate', 'search', 'serve', 'ai', 'cli', 'web'],
].flat();
const MOST_LINES = 800;

const sources = readSources();

/** The layer of a file; entry points straight under src/ stand above all of them. */
function layerOf(path: string): number {
  const [, folder, ...rest] = path.split('/');
  if (rest.length === 0) return ORDER.length;
  return ORDER.indexOf(folder ?? '');
}

function isTest(path: string): boolean {
  return path.endsWith('.test.ts');
}

function findUnknownFolders(files: readonly Source[]): string[] {
  return files.filter(({ path }) => layerOf(path) < 0).map(({ path }) => path);
}

function findUpwardImports(files: readonly Source[]): string[] {
  return files.flatMap(({ path, imports }) =>
    imports
      .filter(({ target }) => target !== undefined && layerOf(target) > layerOf(path))
      // A test may look down from above: it checks a rule of its own folder on what later folders declare.
      .filter(() => !isTest(path))
      .map(({ specifier }) => `${path} imports ${specifier}`),
  );
}

function findNodeImports(files: readonly Source[]): string[] {
  const builtins = new Set(builtinModules);
  return files
    .filter(({ path }) => !path.endsWith('.node.ts') && !isTest(path) && path !== 'src/host/node.ts')
    .flatMap(({ path, imports }) =>
      imports
        .filter(({ specifier }) => specifier.startsWith('node:') || builtins.has(specifier.split('/')[0] ?? ''))
        .map(({ specifier }) => `${path} imports ${specifier}`),
    );
}

function findLooseImports(files: readonly Source[]): string[] {
  const known = new Set(files.map(({ path }) => path));
  return files.flatMap(({ path, imports }) =>
    imports
      .filter(({ specifier, target }) => specifier.startsWith('.') && target?.startsWith('src/') && !known.has(target))
      .map(({ specifier }) => `${path} imports ${specifier}`),
  );
}

/** Cycles of imports that run, each as the files along it. */
function findCycles(files: readonly Source[]): string[] {
  const edges = new Map(
    files.map(({ path, imports }) => [
      path,
      imports.flatMap(({ target, typeOnly }) => (target && !typeOnly ? target : [])),
    ]),
  );
  const done = new Set<string>();
  const found: string[] = [];
  const walk = (path: string, trail: string[]): void => {
    const seen = trail.indexOf(path);
    if (seen >= 0) found.push([...trail.slice(seen), path].join(' -> '));
    if (seen >= 0 || done.has(path)) return;
    for (const target of edges.get(path) ?? []) walk(target, [...trail, path]);
    done.add(path);
  };
  for (const path of edges.keys()) walk(path, []);
  return found;
}

describe('the source tree', () => {
  it('was read', () => expect(sources.length).toBeGreaterThan(5));
  it('has no folder outside the order', () => expect(findUnknownFolders(sources)).toEqual([]));
  it('imports no later folder', () => expect(findUpwardImports(sources)).toEqual([]));
  it('has no cycle', () => expect(findCycles(sources)).toEqual([]));
  it('keeps Node out of what also runs in a browser', () => expect(findNodeImports(sources)).toEqual([]));
  it('names files that exist', () => expect(findLooseImports(sources)).toEqual([]));
  it(`has no file over ${MOST_LINES} lines`, () => {
    expect(sources.filter(({ lines }) => lines > MOST_LINES).map(({ path }) => path)).toEqual([]);
  });
});

describe('the rules themselves', () => {
  const low = parseSource(
    'src/tensor/a.ts',
    "import { train } from '../train/b.ts';\nexport type C = import('../cli/c.ts').C;\n",
  );
  const high = parseSource(
    'src/train/b.ts',
    "export * from '../tensor/a.ts';\nawait import('os');\nimport 'node:fs';\n",
  );
  const entry = parseSource('src/index.ts', "export { train } from './train/b.ts';\n");

  it('see an import of a later folder, even of a type', () => {
    expect(findUpwardImports([low, high, entry])).toEqual([
      'src/tensor/a.ts imports ../train/b.ts',
      'src/tensor/a.ts imports ../cli/c.ts',
    ]);
  });

  it('see a cycle', () => {
    expect(findCycles([entry, high, low])).toEqual(['src/train/b.ts -> src/tensor/a.ts -> src/train/b.ts']);
  });

  it('see Node in either spelling', () => {
    expect(findNodeImports([high])).toEqual(['src/train/b.ts imports os', 'src/train/b.ts imports node:fs']);
    expect(findNodeImports([{ ...high, path: 'src/train/b.node.ts' }])).toEqual([]);
  });

  it('see a folder that nobody ordered', () => {
    expect(findUnknownFolders([{ ...low, path: 'src/utils/a.ts' }])).toEqual(['src/utils/a.ts']);
  });
});
