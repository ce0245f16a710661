// Makes a trained, packed model's folder the one that ships: npx tsx --conditions=lfm-source tools/ship-model.ts FROM weights/brook-123m
// adds to its files how it is best sampled and what makes it an npm package of data, which `npm pack` in the folder puts together.
// --system TEXT is what the model is told to be where a chat says nothing, in place of what its template says.
import { copyFile, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import * as z from 'zod';
import { encodeManifest, hashing, MANIFEST_NAME } from '../src/files/manifest.node.ts';
import { ROOT } from '../test/root.ts';
import { withDefaultSystem } from './default-system.ts';

const FILES = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];

/** Chosen with tools/try-sampling.ts on the first such model of 123M parameters: a weaker penalty lets it go round in circles, a stronger one spoils answers. */
const SAMPLING = { do_sample: true, temperature: 0.3, min_p: 0.15, repetition_penalty: 1.1 };

const { values, positionals } = parseArgs({ allowPositionals: true, options: { system: { type: 'string' } } });
const [from, to] = positionals;
if (from === undefined || to === undefined) throw new Error('Usage: tools/ship-model.ts FROM TO [--system TEXT]');
const name = basename(to);
await mkdir(to, { recursive: true });
for (const file of FILES) if (from !== to) await copyFile(join(from, file), join(to, file));

const json = (value: unknown) => `${JSON.stringify(value, undefined, 2)}\n`;
const readJson = async (path: string): Promise<object> => JSON.parse(await readFile(path, 'utf8'));
if (values.system !== undefined) {
  const path = join(to, 'tokenizer_config.json');
  await writeFile(path, json(withDefaultSystem(await readJson(path), values.system)));
}
const generation = await readJson(join(from, 'generation_config.json'));
await writeFile(join(to, 'generation_config.json'), json({ ...generation, ...SAMPLING }));

const files = [...FILES, 'generation_config.json'];
const entries = await Promise.all(
  files.map(async (file) => {
    const path = join(to, file);
    const sha256 = hashing()
      .update(await readFile(path))
      .digest('hex');
    return { name: file, bytes: (await stat(path)).size, sha256 };
  }),
);
await writeFile(join(to, MANIFEST_NAME), encodeManifest(entries));

const { license, version } = z
  .object({ license: z.string(), version: z.string() })
  .parse(await readJson(join(ROOT, 'package.json')));
await copyFile(join(ROOT, 'LICENSE'), join(to, 'LICENSE'));
await writeFile(
  join(to, 'package.json'),
  json({
    name: `@lfm/${name}`,
    version,
    description: `The language model ${name} of lfm, as data: load('${name}') finds it where it is installed beside lfm`,
    keywords: ['lfm', 'language-model', 'weights'],
    license,
    files: [...files, MANIFEST_NAME],
  }),
);
const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
console.log(
  `${to}: ${entries.length} files, ${(bytes / 1e6).toFixed(1)} MB; npm pack there makes the data package @lfm/${name}`,
);
