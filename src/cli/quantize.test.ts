// lfm quantize: what it writes runs, and what it reports is true of it.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { corpus } from '../generate/testing.node.ts';
import { main } from './program.node.ts';

const report = z.object({
  bytesBefore: z.number(),
  bytesAfter: z.number(),
  packed: z.number(),
  calibration: z.object({
    numerics: z.string(),
    tokens: z.number(),
    perplexity: z.object({ before: z.number(), after: z.number() }),
    meanKl: z.number(),
    sameTop: z.number(),
  }),
});

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lfm-quantize-cli-'));
  await writeFile(join(root, 'text.txt'), corpus);
});
afterAll(() => rm(root, { recursive: true }));

async function run(...argv: readonly string[]) {
  const stream = () => Object.assign(new PassThrough(), { isTTY: false });
  const io = { stdin: stream(), stdout: stream(), stderr: stream(), onInterrupt: () => () => {} };
  const said = { out: '', err: '' };
  io.stdout.on('data', (chunk) => (said.out += String(chunk)));
  io.stderr.on('data', (chunk) => (said.err += String(chunk)));
  return { code: await main(argv, io), ...said };
}

describe('quantize', () => {
  it('writes brook-7m in 8 bits, which part from floats by little, and 4 bits, which part by more', async () => {
    const found = [];
    for (const to of ['int8', 'int4']) {
      const flags = ['--out', join(root, to), '--text', join(root, 'text.txt'), '--tokens', '64', '--json'];
      const { code, out, err } = await run('quantize', 'brook-7m', '--to', to, '--threads', '1', ...flags);
      expect([code, err.split('\n').at(-1)]).toEqual([0, '']);
      found.push(report.parse(JSON.parse(out)));
    }
    const [wide, narrow] = found;
    expect([wide?.calibration.tokens, wide?.calibration.numerics]).toEqual([64, 'stable']);
    expect((wide?.bytesAfter ?? 0) / (wide?.bytesBefore ?? 1)).toBeCloseTo(0.53, 1);
    expect((narrow?.bytesAfter ?? 0) / (narrow?.bytesBefore ?? 1)).toBeCloseTo(0.28, 1);
    const { before = 0, after = 0 } = wide?.calibration.perplexity ?? {};
    expect(Math.abs(after / before - 1)).toBeLessThan(0.02);
    expect(wide?.calibration.meanKl).toBeGreaterThan(0);
    expect(wide?.calibration.meanKl).toBeLessThan(0.005);
    expect(narrow?.calibration.meanKl).toBeGreaterThan(wide?.calibration.meanKl ?? Infinity);
    expect(narrow?.calibration.meanKl).toBeLessThan(0.5);
    const config: unknown = JSON.parse(await readFile(join(root, 'int4', 'config.json'), 'utf8'));
    expect(config).toMatchObject({ quantization_config: { quant_method: 'lfm', bits: 4, block_size: 32 } });
    const { code, out } = await run('generate', join(root, 'int4'), 'Once', '--max-tokens', '4', '--numerics', 'fast');
    expect([code, out.length > 1]).toEqual([0, true]);
  });

  it('says in words what it did', async () => {
    const { code, out } = await run('quantize', 'brook-7m', '--to', 'int4', '--out', join(root, 'words'));
    expect(code).toBe(0);
    expect(out).toMatch(
      /weights before +13\.\d MiB\nweights after +3\.\d MiB \(28\.\d%\)\nmatrices in int4 +52, in blocks of 32\n/,
    );
  });

  it.each([
    [['--to', 'int3', '--out', 'OUT'], /int4, int8/],
    [['--to', 'int4', '--block', '48', '--out', 'OUT'], /32, 64, 128/],
    [['--to', 'int4'], /--out/],
    [['--to', 'int4', '--out', 'OUT', '--text', 'no-such-file'], /no-such-file cannot be read/],
  ])('%j is one clear error', async (flags, message) => {
    const { code, err } = await run(
      'quantize',
      'brook-7m',
      ...flags.map((flag) => (flag === 'OUT' ? join(root, 'refused') : flag)),
    );
    expect(code).toBe(2);
    expect(err).toMatch(message);
  });
});
