import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import koffi from '../koffi.node.ts';
import { LfmError } from '../../tensor/error.ts';
import { Library, library, locateLibrary } from './library.node.ts';

const folder = mkdtempSync(join(tmpdir(), 'lfm-library-'));
afterAll(() => rmSync(folder, { recursive: true }));

const codeOf = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    if (error instanceof LfmError) return error.code;
    throw error;
  }
  return 'none';
};

describe('locateLibrary', () => {
  it.each(['linux-x64', 'linux-arm64', 'darwin-arm64', 'win32-x64', 'win32-arm64'])('finds the file for %s', (name) => {
    const [platform, arch] = name.split('-');
    expect(existsSync(locateLibrary(platform, arch))).toBe(true);
  });

  it('names the platforms there are where there is none', () => {
    expect(() => locateLibrary('sunos', 'x64')).toThrow(/linux-x64.*found sunos-x64/);
    expect(codeOf(() => locateLibrary('darwin', 'x64'))).toBe('onnx-library-platform');
  });
});

describe('Library', () => {
  it.skipIf(process.platform !== 'linux')('is not taken for another one that is wanted by its name', () => {
    library();
    expect(() => koffi.load('libonnxruntime.so.1')).toThrow(/cannot open shared object/);
    // It is ours under its new one.
    expect(koffi.load('libonnxruntime.lfm1').func('void *OrtGetApiBase()')()).not.toBeNull();
  });

  it('lists providers, the CPU among them', () => {
    expect(library().availableProviders()).toContain('CPUExecutionProvider');
    expect(library()).toBe(library());
  });

  it('says what failed to load', () => {
    library();
    expect(codeOf(() => new Library(join(folder, 'absent.so')))).toBe('onnx-library-load');
    const broken = join(folder, 'broken.so');
    writeFileSync(broken, 'not a library');
    expect(() => new Library(broken)).toThrow(/Expected to load .*broken.so, found: /);
  });

  it('appends providers by name, with their options', () => {
    const { calls, releases } = library();
    const options = library().pointer('make options', (out) => calls.createSessionOptions(out));
    const append = (name: string, keys: string[], values: string[]) =>
      library().check(calls.appendExecutionProvider(options, name, keys, values, keys.length), 'append');
    // XNNPACK is not in this build: that its name is known and the other is not shows that the name arrives.
    expect(() => append('NoSuchProvider', ['a'], ['b'])).toThrow(/Unknown provider name 'NoSuchProvider'/);
    expect(() => append('XNNPACK', [], [])).toThrow(/^(?!.*Unknown)/);
    releases.releaseSessionOptions(options);
  });

  it('turns a status into an error with the message of the runtime', () => {
    const { calls } = library();
    const task = () =>
      library().pointer('try', (out) => calls.createSessionFromArray(library().environment, null, 0, null, out));
    expect(task).toThrow(/^ONNX Runtime could not try: ./);
    expect(codeOf(task)).toMatch(/^onnx-/);
  });
});
