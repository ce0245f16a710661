// lfm finetune, from its words to an adapter that lfm generate takes.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { describe, expect, it, vi } from 'vitest';
import { writeModelFolder } from '../generate/testing.node.ts';
import { grammarText, temporaryFolder } from '../train/testing.node.ts';
import { processIo } from './io.node.ts';
import { main } from './program.node.ts';

/** Runs a command line; `onOut` hears all output so far. */
async function lfm(words: readonly string[], onOut: (said: string, interrupt: () => void) => void = () => {}) {
  const said = { out: '', err: '' };
  let interrupt = (): void => {};
  const stream = (key: 'out' | 'err') =>
    Object.assign(
      new Writable({
        write: (chunk: Buffer, _, done) => {
          said[key] += chunk.toString();
          onOut(said.out, interrupt);
          done();
        },
      }),
      { isTTY: false },
    );
  const code = await main(words, {
    ...processIo,
    stdout: stream('out'),
    stderr: stream('err'),
    onInterrupt: (handler) => {
      interrupt = handler;
      return () => {};
    },
  });
  return { code, ...said };
}

async function prepared() {
  vi.stubEnv('npm_command', 'run-script');
  const folder = await temporaryFolder();
  const [base, text, chats, out] = ['base', 'own.txt', 'own.jsonl', 'run'].map((name) => join(folder, name));
  await mkdir(base ?? '');
  await writeModelFolder(base ?? '', { chats: true });
  await writeFile(text ?? '', grammarText(12_000));
  const chat = (n: number) => [
    { role: 'user', content: `Where to, ${n}?` },
    { role: 'assistant', content: 'Down, down.' },
  ];
  const lines = Array.from({ length: 60 }, (_, n) => JSON.stringify({ messages: chat(n) }));
  await writeFile(chats ?? '', lines.join('\n'));
  return { base: base ?? '', text: text ?? '', chats: chats ?? '', out: out ?? '' };
}

const small = ['--threads', '1', '--engine', 'onnx', '--length', '64'];

describe('lfm finetune [onnx]', () => {
  it('is interrupted, goes on with the command that it told, and tells the next', async () => {
    const { base, text, out } = await prepared();
    const given = ['finetune', base, text, '--out', out, ...small, '--steps', '6', '--rank', '2'];
    const first = await lfm(given, (said, interrupt) => {
      if (/^step 1\//m.test(said) && !said.includes('stopping')) interrupt();
    });
    expect(first.code).toBe(130);
    const [, told = ''] = /go on with:\n {2}lfm (.*)\n/.exec(first.out) ?? [];
    expect(told).toMatch(/^finetune .* --rank 2 --length 64 --steps 6 .*--resume$/);
    const rest = await lfm(told.split(' '));
    expect(rest).toMatchObject({ code: 0, err: '' });
    expect(rest.out).toContain('going on after step');
    expect(rest.out).toMatch(/\[before\] [^]*\[after\] /);
    expect(rest.out).toMatch(/held-out: [\d.]+ bits a byte, over .* bytes; [\d.]+ before/);
    expect(rest.out).toContain(`next: lfm generate ${base} --adapter ${join(out, 'final')} "`);
    const spoken = await lfm(['generate', base, 'The', '--adapter', join(out, 'final'), '--max-tokens', '3']);
    expect(spoken).toMatchObject({ code: 0, err: '' });
  });

  it('trains on chats, within a time, and answers in JSON lines', async () => {
    const { base, chats, out } = await prepared();
    const { code, out: said } = await lfm([
      'finetune',
      base,
      chats,
      '--out',
      out,
      ...small,
      '--json',
      '--minutes',
      '0.02',
      '--epochs',
      '2',
    ]);
    expect(code).toBe(0);
    const events = said
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const begun = events.find(({ kind }) => kind === 'begin');
    expect(begun.steps).toBeLessThanOrEqual(Math.ceil((2 * begun.sources.own.trainTokens) / 512));
    expect(events.filter(({ kind }) => kind === 'sample')).toMatchObject([
      { of: 'base', prompt: 'Where to, 0?', isAnswer: true },
      { of: 'adapter', prompt: 'Where to, 0?', isAnswer: true },
    ]);
    const done = events.at(-1);
    expect(done.heldOut.natsPerToken).toBeLessThan(done.before.natsPerToken);
    expect(done.next).toContain('lfm chat');
  });

  it.each<
    [string, string, (of: { base: string; chats: string; text: string; out: string }) => string[] | Promise<string[]>]
  >([
    [
      'too little text',
      'too little',
      async ({ base, text, out }) => (await writeFile(text, 'Hello.'), [base, text, '--out', out]),
    ],
    [
      'wrong roles',
      'line 1: messages[0].role',
      async ({ base, chats, out }) => {
        await writeFile(chats, JSON.stringify({ messages: [{ role: 'assistant', content: 'a' }] }));
        return [base, chats, '--out', out];
      },
    ],
    [
      'a chat longer than a row',
      'line 1: the chat has',
      ({ base, chats, out }) => [base, chats, '--out', out, '--length', '8'],
    ],
    ['a folder of others', 'which is no run', ({ base, text }) => [base, text, '--out', base]],
    ['a rate that is none', 'above 0', ({ base, text, out }) => [base, text, '--out', out, '--learning-rate', '-1']],
  ])('refuses %s', async (_, message, words) => {
    const { code, err } = await lfm(['finetune', ...(await words(await prepared()))]);
    expect(code).toBe(2);
    expect(err).toContain(message);
    expect(err).not.toMatch(/\n\s+at /);
  });
});
