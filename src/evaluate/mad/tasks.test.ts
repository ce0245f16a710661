// The form of MAD's tasks: what stands where, what is asked for, and that it can be answered from what came before.
import { describe, expect, it } from 'vitest';
import { onnxEngine } from '../../engines/onnx/engine.node.ts';
import { initialise, lossProgram, outputProgram } from '../../liquid/index.ts';
import { Random } from '../../tensor/index.ts';
import { madModel, madStacks } from './models.ts';
import { madExamples, runMad } from './run.ts';
import type { MadExample, MadTask } from './tasks.ts';
import { madTasks } from './tasks.ts';

const tasks = madTasks(new Random(7));

function taskOf(name: string): MadTask {
  const task = tasks.find((candidate) => candidate.name === name);
  if (!task) throw new Error(`No task ${name}.`);
  return task;
}

function draw(name: string, split: 'train' | 'test', count = 40): MadExample[] {
  const random = new Random(3);
  return Array.from({ length: count }, () => taskOf(name).example(random, split));
}

/** Positions that are asked for. */
const asked = ({ targets }: MadExample) => targets.flatMap((target, at) => (target === undefined ? [] : [at]));

describe.each(tasks.map((task) => [task.name, task] as const))('%s', (name, task) => {
  it('has rows of its length over its vocabulary, the same for the same seed', () => {
    for (const split of ['train', 'test'] as const) {
      const rows = draw(name, split);
      for (const { inputs, targets } of rows) {
        expect([inputs.length, targets.length]).toEqual([task.length, task.length]);
        for (const token of [...inputs, ...targets]) {
          if (token !== undefined) expect(Number.isInteger(token) && token >= 0 && token < task.vocabSize).toBe(true);
        }
      }
      expect(rows.every((row) => asked(row).length > 0)).toBe(true);
      expect(draw(name, split)).toEqual(rows);
      expect(new Set(rows.map(({ inputs }) => inputs.join())).size).toBe(rows.length);
    }
  });
});

describe.each(['in-context-recall', 'noisy-recall'])('%s', (name) => {
  it('asks in test for just the values whose keys came before, and in training for every next token', () => {
    let noise = 0;
    for (const { inputs, targets } of draw(name, 'test')) {
      const valueOf = new Map<number, number>();
      targets.forEach((target, at) => {
        const key = inputs[at] ?? 0;
        if (at % 2 === 1) return expect(target).toBe(undefined);
        if (key >= 16) noise++;
        expect(target).toBe(key >= 16 ? undefined : valueOf.get(key));
        const value = inputs[at + 1];
        if (value !== undefined && key < 16) valueOf.set(key, value);
      });
      expect(targets.at(-1)).toBeDefined();
    }
    const pairs = (40 * taskOf(name).length) / 2;
    if (name === 'noisy-recall') expect(Math.abs(noise / pairs - 0.2)).toBeLessThan(0.04);
    else expect(noise).toBe(0);
    for (const { inputs, targets } of draw(name, 'train')) expect(targets.slice(0, -1)).toEqual(inputs.slice(1));
  });
});

it('fuzzy-recall asks at the end for a value of one to three tokens that was told after the same key', () => {
  for (const { inputs, targets } of draw('fuzzy-recall', 'test', 200)) {
    const row = [...inputs, targets.at(-1) ?? -1];
    let size = 1;
    while ((row.at(-1 - size) ?? 0) >= 7) size++;
    const [key, value] = [row.slice(-size - 3, -size), row.slice(-size)];
    expect(key.every((token) => token < 7)).toBe(true);
    expect(new Set(key).size).toBe(3);
    expect(size).toBeLessThanOrEqual(3);
    expect(targets.slice(-size)).toEqual(value);
    expect(`,${row.slice(0, -size - 3).join()},`).toContain(`,${[...key, ...value].join()},`);
  }
});

it('selective-copying asks for sixteen tokens in the order in which they stand among the blanks', () => {
  for (const row of draw('selective-copying', 'test')) {
    const sign = row.inputs.indexOf(15);
    const told = row.inputs.slice(0, sign).filter((token) => token !== 14);
    expect(told).toHaveLength(16);
    expect(row.targets.slice(sign + 1)).toEqual(told);
    expect(asked(row)).toEqual(told.map((_, at) => sign + 1 + at));
    expect(row.inputs.slice(sign + 1).every((token) => token === 14)).toBe(true);
  }
});

it('compression ends with a sign and asks for the row itself', () => {
  for (const { inputs, targets } of draw('compression', 'test')) {
    expect(targets).toEqual(inputs);
    expect(inputs.indexOf(15)).toBe(31);
  }
});

it('memorisation asks for the same value of a key in every row, and never shows it', () => {
  const valueOf = new Map<number, number>();
  for (const { inputs, targets } of draw('memorisation', 'train')) {
    for (let at = 0; at < inputs.length; at += 2) {
      const [key = -1, value = -1] = [inputs[at], targets[at + 1]];
      expect(inputs[at + 1]).toBe(255);
      expect(valueOf.get(key) ?? value).toBe(value);
      expect(value >= 127 && value < 255).toBe(true);
      expect(targets[at]).toBe(undefined);
      valueOf.set(key, value);
    }
  }
  expect(new Set(valueOf.values()).size).toBe(valueOf.size);
});

describe('a stack on a task', () => {
  const task: MadTask = {
    name: 'previous',
    vocabSize: 4,
    length: 6,
    trainExamples: 64,
    autoEncoder: false,
    example: (random) => {
      const inputs = Array.from({ length: 6 }, () => Math.floor(random.uniform() * 4));
      return { inputs, targets: [undefined, ...inputs.slice(0, -1)] };
    },
  };
  const convolution = madStacks['convolution'] ?? [];

  it('learns one that it can, and scores what it learnt', async () => {
    const engine = await onnxEngine({ threads: 1 });
    const options = { engine, examples: 64, testExamples: 20, batch: 0.4, learningRate: 0.01, seed: 1 };
    const before = await runMad(task, convolution, { ...options, steps: 1 });
    const after = await runMad(task, convolution, { ...options, steps: 25 });
    expect(before.accuracy).toBeLessThan(0.8);
    expect(after.accuracy).toBeGreaterThan(0.95);
    expect(engine.live().buffers).toBe(0);
    await engine.close();
  });

  it('tells a row again from its last hidden state alone', () => {
    const model = madModel(convolution, { ...task, autoEncoder: true });
    expect(Object.keys(model.parameters)).toEqual(expect.arrayContaining(['decoder.0.weight', 'decoder.1.bias']));
    expect(Object.keys(initialise(model, 1))).toHaveLength(Object.keys(model.parameters).length);
    const { outputs } = outputProgram(model, { batch: 2, length: 6 });
    expect(outputs[0]?.value.shape).toEqual([2, 6, 4]);
    expect(lossProgram(model, { batch: 2, length: 6 }).inputs.map(({ name }) => name)).toContain('decoder.norm.weight');
    expect(madExamples(task, 'test', 3, new Random(1)).arrays['weights']).toHaveLength(18);
  });
});
