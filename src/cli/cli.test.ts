// The command line: in process over streams of the test's own, and once as a process of its own.
import { execFile } from 'node:child_process';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { defaultModel } from '../generate/shipped.node.ts';
import { parityFixtures, parityNames } from '../generate/testing-parity.node.ts';
import { writeModelFolder } from '../generate/testing.node.ts';
import { ROOT } from '../../test/root.ts';
import type { Io } from './io.node.ts';
import { main } from './program.node.ts';
import { Progress } from './progress.node.ts';

let base: string;
let chatting: string;
beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'lfm-cli-base-'));
  chatting = await mkdtemp(join(tmpdir(), 'lfm-cli-chat-'));
  await writeModelFolder(base);
  await writeModelFolder(chatting, { chats: true });
});
afterAll(async () => {
  await Promise.all([base, chatting].map((folder) => rm(folder, { recursive: true })));
});

/** A world to run commands in. `stdin` may be left open, as one that nobody closes. */
function world({ input, terminal = false }: { input?: string | Uint8Array; terminal?: boolean } = {}) {
  const stream = () => Object.assign(new PassThrough(), { isTTY: terminal });
  const [stdin, stdout, stderr] = [stream(), stream(), stream()];
  if (input !== undefined) stdin.end(input);
  const said = { out: '', err: '' };
  const handlers = new Set<() => void>();
  stdout.on('data', (chunk) => (said.out += String(chunk)));
  stderr.on('data', (chunk) => (said.err += String(chunk)));
  const io: Io = {
    stdin,
    stdout,
    stderr,
    onInterrupt(handler) {
      handlers.add(handler);
      return () => handlers.delete(handler);
    },
  };
  const interrupt = () => handlers.forEach((handler) => handler());
  return { io, said, stdin, stdout, interrupt, handlers };
}

async function run(argv: readonly string[], options: Parameters<typeof world>[0] = {}) {
  const { io, said, handlers } = world(options);
  const code = await main(argv, io);
  expect(handlers.size).toBe(0);
  return { code, ...said };
}

const quick = ['--engine', 'reference', '--seed', '3', '--max-tokens', '6'];
const answer = z.object({
  model: z.string(),
  engine: z.string(),
  text: z.string(),
  finishReason: z.string(),
  usage: z.object({ completionTokens: z.number() }),
});

describe('generate [reference]', () => {
  it('continues TEXT or standard input', async () => {
    const given = await run(['generate', base, 'The brook', ...quick]);
    expect(given).toMatchObject({ code: 0, err: '' });
    expect(given.out).toMatch(/^[^]+\n$/);
    expect(await run(['generate', base, ...quick], { input: 'The brook\n' })).toEqual(given);
    expect(await run(['generate', base, 'The brook', ...quick, '--draft', base])).toEqual(given);
  });

  it('tells a program as JSON', async () => {
    const { code, out } = await run(['generate', base, 'The brook', ...quick, '--json']);
    const { text, usage } = answer.parse(JSON.parse(out));
    expect([code, usage.completionTokens]).toEqual([0, 6]);
    expect(`${text}\n`).toBe((await run(['generate', base, 'The brook', ...quick])).out);
  });

  it.each([
    [
      'standard input that is no text',
      ['generate', 'BASE', ...quick],
      { input: Uint8Array.of(0x61, 0xff) },
      'not UTF-8',
    ],
    ['a model that is not there', ['generate', './nowhere', 'x'], {}, 'nowhere'],
    ['a definition', ['generate', 'lfm2-350m', 'x'], {}, 'without weights'],
    ['a value out of range', ['generate', 'BASE', 'x', ...quick, '--top-p', '2'], {}, 'topP'],
    [
      'an adapter that is not there',
      ['generate', 'BASE', 'x', ...quick, '--adapter', './no'],
      {},
      'adapter_config.json',
    ],
    ['a draft with other tokens', ['generate', 'BASE', 'x', ...quick, '--draft', 'brook-7m'], {}, 'tokenizers differ'],
    ['a value that is no number', ['generate', 'BASE', 'x', '--top-p', 'most'], {}, 'Expected a number'],
    ['an engine that nobody knows', ['generate', 'BASE', 'x', '--engine', 'steam'], {}, 'reference'],
    ['an option that nobody knows', ['generate', 'BASE', 'x', '--faster'], {}, '--faster'],
    ['a command that nobody knows', ['generat'], {}, 'generate'],
    ['a base model asked to chat', ['chat', 'BASE', 'Hi', ...quick], {}, 'generate'],
  ])('says what is wrong with %s, without a stack', async (_, argv, options, part) => {
    const { code, out, err } = await run(
      argv.map((word) => (word === 'BASE' ? base : word)),
      options,
    );
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(err).toContain(part);
    expect(err).not.toMatch(/\n\s+at /);
  });

  it('ends with 130 on Ctrl-C', async () => {
    const { io, stdout, interrupt } = world();
    stdout.once('data', interrupt);
    expect(await main(['generate', base, 'The brook', '--engine', 'reference', '--max-tokens', '100'], io)).toBe(130);
  });
});

describe('chat [reference]', () => {
  it('answers, with and without a system message', async () => {
    const { code, out } = await run(['chat', chatting, 'Hi', ...quick]);
    expect(code).toBe(0);
    expect((await run(['chat', chatting, ...quick], { input: 'Hi' })).out).toBe(out);
    expect((await run(['chat', chatting, 'Hi', '--system', 'Be brief.', ...quick])).out).not.toBe(out);
  });
});

describe('start [reference]', () => {
  it('answers once without a terminal, whatever becomes of standard input', async () => {
    const { code, out } = await run(['start', base, ...quick]);
    expect(code).toBe(0);
    expect(out).toMatch(/^Once upon a time[^]+\n$/);
    const prompted = await run(['start', base, '--prompt', 'The brook', ...quick], { terminal: true });
    expect(prompted.out.startsWith('\u001b[2mThe brook\u001b[22m')).toBe(true);
  });

  it.runIf(process.env.LFM_FULL)('answers with the shipped model where none is named', async () => {
    const { code, out } = await run(['start', '--json', '--max-tokens', '4']);
    expect(code).toBe(0);
    expect(answer.parse(JSON.parse(out)).model).toBe(await defaultModel());
  });

  it('opens the playground on a terminal, and ends it at Ctrl-C', async () => {
    const { io, said, interrupt } = world({ terminal: true });
    const session = main(['start', base, '--no-open', ...quick], io);
    await expect.poll(() => said.out, { timeout: 10_000 }).toMatch(/^http:\/\/127\.0\.0\.1:\d+ \(playground;/);
    const [url = ''] = said.out.split(' ');
    const page = await (await fetch(url)).text();
    expect(page).toContain('<script type="module" crossorigin src="/playground.js">');
    interrupt();
    expect(await session).toBe(0);
  });

  it('generates line by line on a terminal until the input ends', async () => {
    const { io, said, stdin } = world({ terminal: true });
    const session = main(['generate', base, ...quick], io);
    stdin.write('The brook\n');
    await expect.poll(() => said.out).toMatch(/The brook[^]*\n\n/);
    stdin.write('\n\u0004');
    expect(await session).toBe(0);
    const { out } = await run(['generate', base, 'The brook', ...quick]);
    expect(said.out).toContain(out.trimEnd());
  });

  it('stops an answer at Ctrl-C, and the session at the next', async () => {
    const flags = [...quick.slice(0, 4), '--max-tokens', '60'];
    const whole = (await run(['chat', chatting, 'Hi', ...flags])).out.trimEnd();
    const { io, said, stdin, stdout } = world({ terminal: true });
    const session = main(['chat', chatting, ...flags], io);
    // The terminal shows the line that was typed; what comes after it is the answer.
    const answered = () => said.out.split('Hi\r\n')[1] ?? '';
    const stop = () => {
      if (answered() === '') return;
      stdout.off('data', stop);
      stdin.write('\u0003');
    };
    stdout.on('data', stop);
    stdin.write('Hi\n');
    await expect.poll(answered).toMatch(/\n\n[^]*> /);
    const [part = ''] = answered().split('\n\n');
    expect(part).not.toBe('');
    expect(whole.startsWith(part)).toBe(true);
    expect(part.length).toBeLessThan(whole.length);
    stdin.write('\u0003');
    expect(await session).toBe(130);
  });
});

const fixtures = await parityNames();

describe('inspect', () => {
  it.each(fixtures)('tells of a folder as transformers writes it: %s', async (name) => {
    const { code, out, err } = await run(['inspect', join(parityFixtures, name), '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      name,
      vocabulary: 40,
      hiddenSize: name === 'zamba2' ? 8 : 16,
      contextLength: 64,
    });
    expect(err).toMatch(name.endsWith('_vl') ? /^\S+: \d+ tensors of its vision tower .*\n$/ : /^$/);
  });

  it('tells a program what there is to know', async () => {
    const { code, out } = await run(['inspect', 'lfm2-350m', '--json']);
    expect(code).toBe(0);
    const found: unknown = JSON.parse(out);
    // Published: 354,483,968. Ten convolutions keep 2 x 1,024 numbers; six layers keep 2 x 8 x 64 a token.
    expect(found).toMatchObject({
      name: 'lfm2-350m',
      parameters: 354_483_968,
      activeParameters: 354_483_968,
      contextLength: 32_768,
    });
    expect(found).toMatchObject({
      stateBytes: { 1: 4 * (10 * 2048 + 6 * 1024), 32768: 4 * (10 * 2048 + 6 * 1024 * 32_768) },
    });
    expect(found).toHaveProperty('layers.length', 16);
    expect(found).toHaveProperty('layers.2.operators.0', 'attention');
  });

  it('counts packed weights as they are held', async () => {
    const { code, out } = await run(['inspect', 'weights/brook-123m', '--json']);
    expect(code).toBe(0);
    const { size } = await stat('weights/brook-123m/model.safetensors');
    // Scales of 16 bits are held in 32.
    const { weights } = JSON.parse(out).memory[1];
    expect(weights / size).toBeGreaterThan(1);
    expect(weights / size).toBeLessThan(1.15);
  });

  it('draws a table of a folder', async () => {
    const { code, out } = await run(['inspect', base]);
    expect(code).toBe(0);
    expect(out).toMatch(/parameters +\d/);
    expect(out).toMatch(/1 +attention, swiglu/);
  });

  it('draws a table of a genome, and says which gene is wrong', async () => {
    const { code, out } = await run(['inspect', 'genome:31122-91111-31122,hiddenSize=256,vocabSize=100']);
    expect(code).toBe(0);
    expect(out).toMatch(/genome +31122-91111-31122\n/);
    expect(out).toMatch(/0 +SA-3 +[\d.K]+ +liv.keys: rows \[1, 64\]; liv.values: rows \[1, 64\]\n/);
    expect(out).toMatch(/2 +SA-3 +[\d.K]+ +SA-3: b, v of layer 0\n/);
    const random = ['inspect', 'genome:random,seed=5,livs=3,hiddenSize=256', '--json'];
    expect((await run(random)).out).toBe((await run(random)).out);
    for (const [name, message] of [
      ['genome:31122-99111', /gene 2 of LIV 2 \(featurizer-sharing group of GMemless\) is 9; expected 1 to 2/],
      ['genome:31111,hiddenSize=100', /hidden size of 100 .* 256 can/],
      ['genome:31111,width=100', /expected sizes as hiddenSize=512, .*; found "width=100"/],
      ['genome:31111-', /LIV 2: expected 5 numbers/],
    ] as const) {
      const wrong = await run(['inspect', name]);
      expect(wrong.code).toBe(2);
      expect(wrong.err).toMatch(message);
    }
  });
});

describe('the rest', () => {
  it('measures generation, of a folder [onnx]', async () => {
    const { code, out } = await run(['benchmark', 'generate', base, '--engine', 'onnx', '--json']);
    expect(code).toBe(0);
    const { measurements, turns, batches } = z
      .object({
        measurements: z.array(z.record(z.string(), z.number())),
        turns: z.object({ promptTokens: z.number(), cachedTokens: z.number(), isSame: z.boolean(), ratio: z.number() }),
        batches: z.array(z.object({ batch: z.number(), tokensPerSecond: z.number(), ratio: z.number() })),
      })
      .parse(JSON.parse(out));
    expect(turns).toMatchObject({ promptTokens: 64, isSame: true });
    expect(turns.cachedTokens).toBeGreaterThanOrEqual(64);
    expect(batches.map(({ batch }) => batch)).toEqual([1, 2, 4, 8, 16]);
    // The context of 128 has room for one length and the tokens decoded after it.
    expect(measurements.map(({ context }) => context)).toEqual([64]);
    expect(Object.values(measurements[0] ?? {}).every((value) => value > 0)).toBe(true);
    // One convolution's tail, and keys and values of one head of 8 for 64 tokens, with room for 128.
    expect(measurements[0]).toMatchObject({
      stateBytes: 4 * (2 * 16 + 2 * 8 * 64),
      bufferBytes: 4 * (2 * 16 + 2 * 8 * 128),
    });
  });

  it('lists the engines', async () => {
    const { code, out } = await run(['engines', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toContainEqual({
      name: 'reference',
      available: true,
      description: expect.stringContaining('TypeScript'),
    });
  });

  it('helps, with examples', async () => {
    for (const command of ['start', 'generate', 'chat', 'inspect', 'train']) {
      expect(await run([command, '--help'])).toMatchObject({
        code: 0,
        err: '',
        out: expect.stringContaining('Examples:'),
      });
    }
  });

  it('is a command of its own', async () => {
    const spawn = (...argv: string[]) =>
      new Promise<{ code: unknown; out: string; err: string }>((resolve) => {
        const options = { cwd: ROOT, env: { ...process.env, NODE_OPTIONS: '' } };
        const child = execFile(
          'node',
          ['--conditions=lfm-source', '--import', 'tsx', 'src/cli/main.node.ts', ...argv],
          options,
          (error, out, err) => {
            resolve({ code: error ? error.code : 0, out, err });
          },
        );
        child.stdin?.end();
      });
    const [version, mistake] = await Promise.all([spawn('--version'), spawn('generate', 'nowhere', 'x')]);
    expect(version).toMatchObject({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
    expect(mistake).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringMatching(/^lfm: There is no model "nowhere"[^\n]*\n$/),
    });
  });
});

describe('progress', () => {
  const lines = (isTTY: boolean, times: readonly number[], shares: readonly number[]) => {
    const { stderr } = world().io;
    let said = '';
    stderr.on('data', (chunk) => (said += String(chunk)));
    const clock = [0, ...times];
    const progress = new Progress(Object.assign(stderr, { isTTY }), 'Loading', () => clock.shift() ?? 0);
    for (const share of shares) progress.update(share);
    progress.end();
    return said;
  };

  it('shows work of over two seconds, with the time left, and only on a terminal', () => {
    expect(lines(true, [1000, 2000], [0.1, 0.5])).toBe(
      '\r\u001b[KLoading: 10%, 9 s left\r\u001b[KLoading: 50%, 2 s left\r\u001b[K',
    );
    expect(lines(true, [500, 900], [0.5, 0.9])).toBe('');
    expect(lines(false, [1000, 2000], [0.1, 0.5])).toBe('');
  });
});
