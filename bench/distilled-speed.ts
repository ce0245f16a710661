// What a student costs beside its teacher, in one engine: decoding at a long context, the state's memory, the file. Both hold a text of
// that length and go on with it in turns of a few tokens, so that what else the machine does meets both alike.
import { stat } from 'node:fs/promises';
import * as z from 'zod';
import { openEngine } from '../src/engines/default.node.ts';
import { weightFiles } from '../src/evaluate/files.node.ts';
import type { Generator } from '../src/generate/generator.ts';
import { load } from '../src/generate/load.ts';
import { Sampler } from '../src/generate/sampler.ts';
import type { Numerics } from '../src/generate/weights.ts';
import { stateBytes } from '../src/liquid/index.ts';
import { Random } from '../src/tensor/index.ts';
import { median } from './median.ts';

const CONTEXT = 2048;
const [ROUNDS, TURN] = [24, 8];
const CAPACITY = CONTEXT + (ROUNDS + 1) * TURN;

const oneSpeed = z.object({ tokensPerSecond: z.number(), stateBytes: z.number(), fileBytes: z.number() });
export const speedSchema = z.object({
  engine: z.string(),
  numerics: z.string(),
  teacher: oneSpeed,
  student: oneSpeed,
  /** The student's speed over the teacher's: the median of the rounds, and their quartiles. */
  ratio: z.object({ value: z.number(), low: z.number(), high: z.number() }),
});
export type Speed = z.infer<typeof speedSchema>;
type Side = 'teacher' | 'student';

export async function measureSpeed(
  models: Readonly<Record<Side, string>>,
  threads: number,
  numerics: Numerics,
): Promise<Speed> {
  const engine = await openEngine({ name: 'onnx', threads });
  const open = (name: string) => load(name, { engine, numerics, contextLength: CAPACITY });
  const loaded = { teacher: await open(models.teacher), student: await open(models.student) };
  const turns = {
    teacher: await decoder(loaded.teacher.generator),
    student: await decoder(loaded.student.generator),
  };
  const times: Record<Side, number[]> = { teacher: [], student: [] };
  // The first round compiles and touches memory.
  for (let round = 0; round <= ROUNDS; round++)
    for (const side of ['teacher', 'student'] as const) {
      const time = await turns[side].turn();
      if (round > 0) times[side].push(time);
    }
  const of = async (side: Side) => {
    turns[side].close();
    const { model } = loaded[side].generator;
    await loaded[side][Symbol.asyncDispose]();
    const files = await Promise.all((await weightFiles(models[side])).map((path) => stat(path)));
    return {
      tokensPerSecond: (1000 * TURN) / median(times[side]),
      stateBytes: stateBytes(model, CONTEXT, 'float32'),
      fileBytes: files.reduce((sum, { size }) => sum + size, 0),
    };
  };
  const ratios = times.teacher.map((time, round) => time / (times.student[round] ?? NaN)).toSorted((a, b) => a - b);
  const [low = NaN, high = NaN] = [ratios[ROUNDS >> 2], ratios[(3 * ROUNDS) >> 2]];
  const found = {
    engine: engine.description,
    numerics,
    teacher: await of('teacher'),
    student: await of('student'),
    ratio: { value: median(ratios), low, high },
  };
  await engine.close();
  return found;
}

/** Takes a prompt of random tokens in, and then goes on with it, some tokens at each turn. */
async function decoder(generator: Generator) {
  const random = new Random(0);
  const sampler = new Sampler({ temperature: 0.8, minP: 0.05, seed: 1 });
  const state = await generator.open(CAPACITY);
  let next = Array.from({ length: CONTEXT }, () => random.bits() % generator.model.head.classes);
  const feed = async () => {
    const [logits] = await generator.feed(state, [next]);
    if (logits) next = [sampler.sample(logits).id];
  };
  await feed();
  return {
    /** Milliseconds. */
    turn: async () => {
      const start = performance.now();
      for (let token = 0; token < TURN; token++) await feed();
      return performance.now() - start;
    },
    close: () => generator.release(state),
  };
}
