// Every hostile sharded checkpoint here is refused with the error code that it is named after, and every rule has one.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

import { openSafetensors } from '../../../src/files/safetensors.node.ts';
import { attacks, harmless } from './make.ts';

const INDEX = 'model.safetensors.index.json';
const here = fileURLToPath(new URL('.', import.meta.url));
const names = readdirSync(here, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? entry.name : []));

describe('hostile sharded checkpoints', () => {
  test('stand here as make.ts makes them', () => {
    expect(names.sort()).toEqual(Object.keys(attacks).sort());
    for (const [code, files] of Object.entries(attacks)) {
      expect(readdirSync(join(here, code)).sort()).toEqual(Object.keys(files).sort());
      for (const [name, bytes] of Object.entries(files))
        expect(new Uint8Array(readFileSync(join(here, code, name))), code).toEqual(bytes);
    }
  });

  test.each(names)('%s', async (name) => {
    await expect(openSafetensors(join(here, name, INDEX))).rejects.toMatchObject({
      name: 'LfmError',
      code: name.replace(/-\d$/, ''),
    });
  });

  test('there is one for every rule', () => {
    const source = (file: string) => readFileSync(new URL(`../../../src/files/${file}`, import.meta.url), 'utf8');
    const rules = [...source('shards.ts').matchAll(/fail\(\s*'([a-z-]+)'/g)].map(([, rule]) => `index-${rule}`);
    rules.push(...[...source('safetensors.node.ts').matchAll(/'(index-[a-z-]+)'/g)].flatMap(([, code]) => code ?? []));
    // Thousands of files would be too many to keep here: safetensors.node.test.ts makes them.
    const shown = [...Object.keys(attacks), 'index-shards'].map((code) => code.replace(/-\d$/, ''));
    for (const rule of rules) expect(shown).toContain(rule);
  });

  test('a name from the prototype is a name like any other', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'lfm-shards-'));
    try {
      for (const [name, bytes] of Object.entries(harmless)) writeFileSync(join(folder, name), bytes);
      await using file = await openSafetensors(join(folder, INDEX));
      expect([...file.tensors.keys()]).toEqual(['__proto__', 'constructor']);
      expect(await file.read('__proto__')).toEqual(Uint8Array.of(0));
      expect(Object.prototype).not.toHaveProperty('dtype');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
