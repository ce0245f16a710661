// lfm catalog, compare and inspect's costs, and how their options are read.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { devices, memoryAt, speedOn } from '../liquid/index.ts';
import { announcedNames } from '../models/announcement.ts';
import { catalogue } from '../models/catalogue.ts';
import { parseDevice, parseLengths } from './costs.node.ts';
import { main } from './program.node.ts';

async function run(...argv: string[]) {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const said = { out: '', err: '' };
  stdout.on('data', (chunk) => (said.out += String(chunk)));
  stderr.on('data', (chunk) => (said.err += String(chunk)));
  const code = await main(argv, { stdin, stdout, stderr, onInterrupt: () => () => {} });
  return { code, ...said };
}

const comparison = z.array(
  z.looseObject({
    name: z.string(),
    memory: z.array(z.looseObject({ length: z.number(), state: z.number(), total: z.number() })),
  }),
);

describe('catalog', () => {
  it('lists every definition with where its sizes come from', async () => {
    const { code, out } = await run('catalog', '--json');
    expect(code).toBe(0);
    const found = z.array(z.looseObject({ name: z.string(), source: z.string().min(10) })).parse(JSON.parse(out));
    expect(found.map(({ name }) => name)).toEqual(Object.keys(catalogue));
    expect(found[0]).toMatchObject({
      name: 'lfm2-350m',
      family: 'lfm2',
      parameters: 354_483_968,
      layers: { short_conv: 10, attention: 6 },
      contextLength: 32_768,
      stateBytes: 2 * (10 * 2048 + 6 * 1024 * 32_768),
    });
    const table = await run('catalog');
    for (const name of Object.keys(catalogue)) expect(table.out).toContain(`\n${name} `);
  });
});

describe('compare', () => {
  it('tells the memory of each model at each length', async () => {
    const { code, out } = await run('compare', 'lfm2-350m', 'lfm2-700m', '--length', '1k..4k', '--json');
    expect(code).toBe(0);
    const found = comparison.parse(JSON.parse(out));
    expect(found.map(({ name }) => name)).toEqual(['lfm2-350m', 'lfm2-700m']);
    expect(found[0]?.memory.map(({ length }) => length)).toEqual([1024, 2048, 4096]);
    const model = catalogue['lfm2-350m']?.model();
    expect(found[0]?.memory[2]).toEqual({ length: 4096, ...(model && memoryAt(model, 4096)) });
  });

  it('draws the curves, and marks lengths that a model was not made for', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'lfm-compare-'));
    try {
      const file = join(folder, 'memory.svg');
      const { code, out } = await run('compare', 'lfm2-350m', '--length', '32k,64k', '--svg', file);
      expect([code, out.match(/iB \*/g)?.length]).toEqual([0, 1]);
      expect(await readFile(file, 'utf8')).toMatch(/^<svg [^]*lfm2-350m[^]*<\/svg>\n$/);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("sets the announcement's own tables beside them", async () => {
    const [name = ''] = announcedNames.filter((one) => catalogue[one]);
    const { out } = await run('compare', 'lfm2-350m', ...(name ? [name] : []), '--length', '1k', '--published');
    expect(out).toContain("Not in the announcement's tables: lfm2-350m");
  });
});

describe('inspect', () => {
  it('estimates speeds on a described device', async () => {
    const { code, out } = await run('inspect', 'lfm2-350m', '--device', 'raspberry-pi-5', '--json');
    const model = catalogue['lfm2-350m']?.model();
    const pi = devices['raspberry-pi-5'];
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ speed: { 4096: model && pi && speedOn(model, pi, 4096) } });
    expect((await run('inspect', 'lfm2-350m', '--device', 'h100')).out).toMatch(/32k .* yes\n/);
  });
});

describe('options', () => {
  it('read lengths', () => {
    expect(parseLengths('1k..8k')).toEqual([1024, 2048, 4096, 8192]);
    expect(parseLengths('1000..3000')).toEqual([1000, 2000, 3000]);
    expect(parseLengths('4k, 100,4096')).toEqual([100, 4096]);
    for (const wrong of ['', 'x', '0', '8k..1k', '1..2..3', '1e9', '-4', '99999k'])
      expect(() => parseLengths(wrong), wrong).toThrow(/Expected/);
  });

  it('read devices', () => {
    expect(parseDevice('h100')).toEqual(devices.h100);
    expect(parseDevice('flops=1e12, bandwidth=2e10,memory=8e9')).toEqual({ flops: 1e12, bandwidth: 2e10, memory: 8e9 });
    for (const wrong of ['', 'toString', 'flops=1', 'flops=1,bandwidth=1,memory=0', 'flops=1,bandwidth=1,memory=1,x=1'])
      expect(() => parseDevice(wrong), wrong).toThrow(/Expected/);
  });
});

describe('chat', () => {
  it('says of a definition that it has no weights, and what to do', async () => {
    const { code, err } = await run('chat', 'lfm2-350m', 'Hi');
    expect(code).toBe(2);
    expect(err).toContain('without weights');
    expect(err).toContain('lfm inspect lfm2-350m');
  });
});
