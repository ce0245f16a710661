// Models of genomes: saved, loaded again, and as ONNX in a plain ONNX Runtime, against the generator.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { writeFileAtomic } from '../files/atomic.node.ts';
import { writeSafetensors } from '../files/safetensors-write.ts';
import { livClasses, modelFromGenome, printGenome, randomGenome } from '../liquid/index.ts';
import type { Genome } from '../liquid/index.ts';
import { freshWeights } from '../liquid/testing-model.ts';
import { toLiquid } from '../models/index.ts';
import { convertToOnnx } from './convert-onnx.node.ts';
import { openSource } from './source.node.ts';
import { difference, logitsOf, runPlain } from './testing-onnx.node.ts';
import { writeModelFolder } from './testing.node.ts';

/** `LFM_FULL=1`, as `npm run test:full` sets it, tries 200 random genomes. */
const SEEDS = Array.from({ length: process.env['LFM_FULL'] === undefined ? 8 : 200 }, (_, seed) => seed);
const genomes = [
  ...livClasses.map(({ name, id }): [string, Genome] => [name, [[id, 1, 1, 1, 1]]]),
  ...SEEDS.map((seed): [string, Genome] => {
    const genome = randomGenome(seed, 1 + (seed % 5));
    return [printGenome(genome), genome];
  }),
];
/** Heads of 4 take ONNX's Attention, heads of 8 the kernel of ONNX Runtime. */
const sizes = { vocabSize: 320, initializerRange: 0.3, intermediateSize: 24, contextLength: 32 };
const row = [1, 44, 61, 12, 90, 33, 270];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lfm-genome-'));
});
afterAll(() => rm(folder, { recursive: true }));

it.each(genomes)('%s comes back from its folder, and from its ONNX model [onnx]', async (name, genome) => {
  const headDim = name.length % 2 === 0 ? 4 : 8;
  const model = modelFromGenome(genome, { ...sizes, headDim, hiddenSize: 4 * headDim });
  const path = join(folder, name.replaceAll('.', '_'));
  await mkdir(path);
  await writeModelFolder(path);
  await writeFile(join(path, 'config.json'), JSON.stringify(toLiquid(model, { pad: 0, endOfText: 2 })));
  const tensors = Object.entries(freshWeights(model, 4)).map(([key, { shape, data }]) => ({
    name: key,
    dtype: 'float32' as const,
    shape,
    data: Float32Array.from(data as Float32Array),
  }));
  await writeFileAtomic(join(path, 'model.safetensors'), (sink) => writeSafetensors(sink, tensors));
  const source = await openSource(path);
  await convertToOnnx(source, join(path, 'onnx'));
  await source.weights.close();
  const wanted = await logitsOf(path, row);
  const range = Math.max(...wanted.flat()) - Math.min(...wanted.flat());
  const [found = []] = await runPlain(join(path, 'onnx'), [row], [4, 1, 2]);
  expect(difference(found, wanted)).toBeLessThan(1e-4 * range);
  await rm(path, { recursive: true });
});
