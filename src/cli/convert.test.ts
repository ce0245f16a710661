// lfm convert: texts that a StableHLO compiler takes, with ports as the folder's JSON names them.
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { cpuPlugin, openCpu } from '../engines/xla/testing.node.ts';
import { writeModelFolder } from '../generate/testing.node.ts';
import { main } from './program.node.ts';

const port = z.object({ name: z.string(), dtype: z.string(), shape: z.array(z.number()) });
const program = z.object({
  file: z.string(),
  inputs: z.array(port),
  outputs: z.array(port),
  inPlace: z.record(z.string(), z.string()),
});
const description = z.object({ batch: z.number(), capacity: z.number(), programs: z.record(z.string(), program) });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lfm-convert-'));
  await mkdir(join(folder, 'model'));
  await writeModelFolder(join(folder, 'model'));
});
afterAll(() => rm(folder, { recursive: true }));

async function convert(...flags: readonly string[]) {
  const stream = () => Object.assign(new PassThrough(), { isTTY: false });
  const io = { stdin: stream(), stdout: stream(), stderr: stream(), onInterrupt: () => () => {} };
  const said = { out: '', err: '' };
  io.stdout.on('data', (chunk) => (said.out += String(chunk)));
  io.stderr.on('data', (chunk) => (said.err += String(chunk)));
  return { code: await main(['convert', join(folder, 'model'), ...flags], io), ...said };
}

describe('convert', () => {
  it('writes programs whose ports it names', async () => {
    const out = join(folder, 'text');
    const size = ['--batch', '2', '--length', '4', '--capacity', '8'];
    const { code, out: said, err } = await convert('--to', 'stablehlo', '--out', out, ...size);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const files = ['prefill.mlir', 'decode.mlir', 'training-step.mlir', 'programs.json'];
    expect((await readdir(out)).toSorted()).toEqual(files.toSorted());
    expect(said).toBe(files.map((file) => `${join(out, file)}\n`).join(''));
    const { programs, ...sizes } = description.parse(JSON.parse(await readFile(join(out, 'programs.json'), 'utf8')));
    expect(sizes).toEqual({ batch: 2, capacity: 8 });
    const shapes = (key: string, side: 'inputs' | 'outputs') =>
      Object.fromEntries(programs[key]?.[side].map(({ name, shape }) => [name, shape]) ?? []);
    expect(shapes('prefill', 'inputs')).toMatchObject({ tokens: [2, 4], starts: [2] });
    expect(shapes('decode', 'inputs')).toMatchObject({ tokens: [2, 1] });
    expect(shapes('training-step', 'inputs')).toMatchObject({ tokens: [2, 4], labels: [2, 4], learningRate: [] });
    expect(shapes('training-step', 'outputs')).toMatchObject({ loss: [], norm: [] });
    const table = 'model.embed_tokens.weight';
    expect(programs['training-step']?.inPlace).toMatchObject({
      [table]: table,
      [`second.${table}`]: `second.${table}`,
    });
    expect(programs['decode']?.inPlace).toMatchObject({ 'state.layers.0.conv.tail': 'state.layers.0.conv.tail' });
    for (const { file, inputs } of Object.values(programs)) {
      const text = await readFile(join(out, file), 'utf8');
      expect(text.match(/%arg\d+: tensor/g)).toHaveLength(inputs.length);
    }
  });

  it.skipIf(!cpuPlugin)('writes what a compiler takes [xla]', async () => {
    const out = join(folder, 'compiled');
    const size = ['--length', '4', '--capacity', '8', '--dtype', 'bfloat16'];
    expect(await convert('--to', 'stablehlo', '--out', out, ...size)).toMatchObject({ code: 0 });
    const { programs } = description.parse(JSON.parse(await readFile(join(out, 'programs.json'), 'utf8')));
    await using client = await openCpu(1);
    for (const { file, outputs } of Object.values(programs)) {
      const flags = { xla_backend_optimization_level: 0, xla_cpu_use_fusion_emitters: false };
      using executable = await client.compile(await readFile(join(out, file), 'utf8'), { flags });
      expect(executable.outputTypes()).toEqual(outputs.map(({ dtype, shape }) => ({ dtype, shape })));
    }
  });

  it('writes GGUF and safetensors, and replaces only when told to', async () => {
    const [gguf, back] = [join(folder, 'it.gguf'), join(folder, 'it')];
    const { code, out, err } = await convert('--to', 'gguf', '--out', gguf, '--dtype', 'q8_0', '--json');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(JSON.parse(out)).toMatchObject({ path: gguf, dtype: 'Q8_0', tensors: 21 });
    expect(await convert('--to', 'gguf', '--out', gguf)).toMatchObject({ code: 2 });
    expect(await convert('--to', 'gguf', '--out', gguf, '--force')).toMatchObject({ code: 0 });
    const folderFlags = ['--to', 'safetensors', '--out', back, '--dtype', 'float32', '--max-shard', '8kB'];
    expect(await convert(...folderFlags)).toMatchObject({ code: 0, out: expect.stringContaining('float32') });
    expect(await readdir(back)).toContain('model.safetensors.index.json');
    expect(await convert(...folderFlags, '--force')).toMatchObject({ code: 0 });
  });

  it('says what is missing or does not fit', async () => {
    expect(await convert('--out', folder)).toMatchObject({ code: 2, err: expect.stringContaining('--to') });
    expect(await convert('--to', 'zip', '--out', folder)).toMatchObject({ code: 2 });
    const [gguf, out] = [join(folder, 'a.gguf'), join(folder, 'a')];
    const refusals: [string[], string][] = [
      [['--to', 'gguf', '--out', out], 'ends in .gguf'],
      [['--to', 'gguf', '--out', join(folder, 'none', 'a.gguf')], 'no such file'],
      [['--to', 'safetensors', '--out', out, '--dtype', 'q8_0'], 'f32, f16 and bf16'],
      [['--to', 'safetensors', '--out', folder], 'exists already'],
      [['--to', 'safetensors', '--out', folder, '--force'], 'manifest.json'],
      [['--to', 'stablehlo', '--out', out, '--dtype', 'f16'], 'f32 and bf16'],
      [['--to', 'gguf', '--out', gguf, '--dtype', 'int3'], 'q4_0'],
      [['--to', 'safetensors', '--out', out, '--max-shard', 'many'], '500MB'],
    ];
    for (const [flags, err] of refusals)
      expect(await convert(...flags)).toMatchObject({ code: 2, err: expect.stringContaining(err) });
    expect(await readdir(folder)).not.toContain('a');
    expect(await convert('--to', 'stablehlo', '--out', folder, '--length', '9', '--capacity', '8')).toMatchObject({
      code: 2,
      err: expect.stringContaining('does not fit'),
    });
  });
});
