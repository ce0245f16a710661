// lfm train, from its words to its exit code.
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { Command } from 'commander';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { grammarText, temporaryFolder, tinyInput } from '../train/testing.node.ts';
import type { Io } from './io.node.ts';
import { processIo } from './io.node.ts';
import { main } from './program.node.ts';
import { registerTrain } from './train.node.ts';

// The next command begins as this one did: through npx or not.
beforeEach(() => {
  vi.stubEnv('npm_command', 'run-script');
});

interface Said {
  out: string;
  interrupt: () => void;
  io: Io;
}

function pretended(isTTY = false, onOut: (said: Said) => void = () => {}): Said {
  const said: Said = { out: '', interrupt: () => {}, io: processIo };
  const stream = new Writable({
    write: (chunk: Buffer, _, done) => {
      said.out += chunk.toString();
      onOut(said);
      done();
    },
  });
  const stdout = Object.assign(stream, { isTTY });
  said.io = {
    ...processIo,
    stdout,
    onInterrupt: (handler) => {
      said.interrupt = handler;
      return () => {};
    },
  };
  return said;
}

async function lfm(said: Said, ...words: string[]): Promise<void> {
  const program = new Command('lfm').exitOverride();
  registerTrain(program, said.io);
  await program.parseAsync(['train', ...words], { from: 'user' });
}

async function prepared(): Promise<{ folder: string; recipe: string; text: string; out: string }> {
  const folder = await temporaryFolder();
  const [recipe, text] = [join(folder, 'tiny.json'), join(folder, 'text.txt')];
  await writeFile(recipe, JSON.stringify(tinyInput));
  await writeFile(text, grammarText(10_000));
  return { folder, recipe, text, out: join(folder, 'run') };
}

describe('lfm train [onnx]', () => {
  it('prints the recipe in full, plain lines, and the next command', async () => {
    const { recipe, text, out } = await prepared();
    const said = pretended();
    await lfm(said, recipe, '--data', text, '--out', out, '--steps', '6');
    expect(said.out).toMatch(/^\{\n {2}"format": 1,/);
    expect(said.out).toContain('"steps": 6');
    expect(said.out).toMatch(/\nstep 6\/6 {2}loss \d\.\d{3} {2}\S+ tokens\/s\n/);
    expect(said.out).toMatch(/\nheld-out: \d\.\d{3} bits a byte, over \S+ bytes\n/);
    expect(said.out.trimEnd().split('\n').at(-1)).toBe(`next: lfm generate ${out}/final "The"`);
    expect(said.out).not.toContain('\r');
  });

  it('tells its plan before it trains, or alone with --plan, and what to change where it does not fit', async () => {
    const { recipe, text, out } = await prepared();
    const said = pretended();
    await lfm(said, recipe, '--data', text, '--out', out, '--steps', '1');
    expect(said.out).toMatch(/\nplan: \S+ parameters on one device, float32\n {2}memory of each device {2}about \d/);
    const alone = pretended();
    await lfm(alone, recipe, '--plan', '--mesh', 'fsdp=2', '--device', 'flops=1e12,bandwidth=1e11,memory=100000');
    expect(alone.out).toMatch(/^plan: .* on 2 devices \(fsdp=2\)/);
    expect(alone.out).toMatch(/each device sends {6}\S+ \S+ a step, gathering weights/);
    expect(alone.out).toMatch(/to expect .* MFU/);
    expect(alone.out).toContain('does not fit');
  });

  it('redraws one line on a terminal', async () => {
    const { recipe, text, out } = await prepared();
    const said = pretended(true);
    await lfm(said, recipe, '--data', text, '--out', out, '--steps', '4');
    expect(said.out).toContain('\r\u001b[Kstep 4/4');
    expect(said.out).toContain('\r\u001b[Kcount words: text');
  });

  it('prints JSON lines for programs, and stops at Ctrl-C with a checkpoint', async () => {
    const { recipe, text, out } = await prepared();
    const said = pretended(false, ({ out: far, interrupt }) => far.includes('"kind":"step"') && interrupt());
    // A second Ctrl-C would end the process.
    const once = {
      ...said.io,
      onInterrupt: (handler: () => void) => said.io.onInterrupt(() => (handler(), (said.interrupt = () => {}))),
    };
    await expect(lfm({ ...said, io: once }, recipe, '--data', text, '--out', out, '--json')).rejects.toMatchObject({
      message: 'interrupted',
    });
    const lines = said.out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { kind: string; stopped?: boolean; next?: string; step?: number });
    expect(lines[0]?.kind).toBe('recipe');
    const end = lines.at(-1);
    expect(end).toMatchObject({ kind: 'done', stopped: true, next: `lfm train ${recipe} --out ${out} --resume` });
    expect(await readdir(out)).toContain(`step-${end?.step}`);
  });
});

describe('a mistake', () => {
  it.each([
    [['nowhere.json'], 'There is no recipe'],
    [['hello'], 'add --data FILE'],
    [['hello', '--data', 'nowhere.txt'], 'cannot read nowhere.txt'],
    [['hello', '--steps', 'many'], 'Expected a whole number'],
    [['hello', '--engine', 'abacus'], 'abacus'],
  ])('%j has exit code 2 and no stack', async (words, message) => {
    let err = '';
    const stderr = new Writable({ write: (chunk: Buffer, _, done) => ((err += chunk.toString()), done()) });
    const code = await main(['train', ...words], {
      ...pretended().io,
      stderr: Object.assign(stderr, { isTTY: false }),
    });
    expect(code).toBe(2);
    expect(err).toContain(message);
    expect(err).not.toMatch(/\n\s+at /);
  });
});
