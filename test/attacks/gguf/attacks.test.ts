// Every hostile file here is refused with the error code that it is named after, and every rule has its file.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

import { parseGguf } from '../../../src/files/gguf.ts';
import { openGguf } from '../../../src/files/gguf.node.ts';
import { attacks, harmless } from './make.ts';

const folder = fileURLToPath(new URL('.', import.meta.url));
const names = readdirSync(folder).filter((name) => name.endsWith('.gguf'));

describe('hostile GGUF files', () => {
  test('stand here as make.ts makes them', () => {
    const made = Object.keys(attacks).map((code) => `${code}.gguf`);
    expect(names.sort()).toEqual(made.sort());
    for (const [code, bytes] of Object.entries(attacks)) {
      expect(new Uint8Array(readFileSync(`${folder}${code}.gguf`)), code).toEqual(bytes);
    }
  });

  test.each(names)('%s', async (name) => {
    await expect(openGguf(`${folder}${name}`)).rejects.toMatchObject({
      name: 'LfmError',
      code: name.replace('.gguf', ''),
    });
  });

  test('there is a file for every rule of the parser', () => {
    const source = readFileSync(new URL('../../../src/files/gguf.ts', import.meta.url), 'utf8');
    const rules = [...source.matchAll(/(?:fail\(|count\([^;]*?)\s*'([a-z0-9-]+)'/g)].map(([, rule]) => `gguf-${rule}`);
    expect([...new Set(rules)].sort()).toEqual(Object.keys(attacks).sort());
  });

  test('a name from the prototype is a name like any other', () => {
    const found = parseGguf(harmless, harmless.length);
    expect(found?.metadata.get('__proto__')).toBe(1);
    expect([...(found?.tensors.keys() ?? [])]).toEqual(['__proto__']);
    expect(Object.prototype).not.toHaveProperty('type');
  });

  test('a header that is not all there asks for more, wherever it is cut', () => {
    const { byteOffset = 0 } = parseGguf(harmless, harmless.length)?.tensors.get('__proto__') ?? {};
    expect(byteOffset).toBeGreaterThan(32);
    for (let length = 0; length < byteOffset - 32; length++)
      expect(parseGguf(harmless.subarray(0, length), harmless.length)).toBeUndefined();
  });
});
