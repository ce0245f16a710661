// Decoding on the device against the generator's steps, and its draws against the distribution.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../engines/engine.ts';
import { stateTypes, stepProgram } from '../liquid/index.ts';
import { countOf, newHostArray } from '../tensor/index.ts';
import { rolloutProgram } from './rollout.ts';
import { engines, readFixture, upload } from './testing.node.ts';

const { model, weights, rows } = await readFixture();
const [prompt = []] = rows;
const capacity = 64;

describe.each(engines)('rollout [%s]', (_, open) => {
  let engine: Engine;
  beforeAll(async () => void (engine = await open()));
  afterAll(async () => {
    expect(engine.live().buffers).toBe(0);
    await engine.close();
  });

  const emptyStates = async (batch: number) => {
    const made = Object.entries(stateTypes(model, { batch, capacity })).map(async ([name, { dtype, shape }]) => {
      const sizes = shape.map(Number);
      return [`state.${name}`, await engine.upload(dtype, sizes, newHostArray(dtype, countOf(sizes)))] as const;
    });
    return Object.fromEntries(await Promise.all(made));
  };

  it('decodes the tokens that steps of one decode', async () => {
    const parameters = await upload(engine, model, weights);
    const step = await engine.compile(stepProgram(model, { batch: 1, length: 1, capacity }));
    const rollout = await engine.compile(rolloutProgram(model, { batch: 1, capacity, steps: 5 }));
    const greedy: number[] = [];
    let states = await emptyStates(1);
    for (let at = 0; at < 10; at++) {
      const given = {
        tokens: await engine.upload(
          'int32',
          [1, 1],
          Int32Array.of(at === 0 ? (prompt[0] ?? 0) : (greedy[at - 1] ?? 0)),
        ),
        starts: await engine.upload('int32', [1], Int32Array.of(at)),
        lengths: await engine.upload('int32', [1], Int32Array.of(1)),
      };
      const { logits, ...next } = await step.run({ ...parameters, ...states, ...given });
      const scores = Array.from((logits && (await engine.download(logits))) ?? [], Number);
      greedy.push(scores.indexOf(Math.max(...scores)));
      for (const buffer of [logits, ...Object.values(given)]) buffer?.dispose();
      states = next;
    }
    for (const buffer of Object.values(states)) buffer.dispose();

    let carried = {
      ...(await emptyStates(1)),
      token: await engine.upload('int32', [1], Int32Array.of(prompt[0] ?? 0)),
      starts: await engine.upload('int32', [1], Int32Array.of(0)),
    };
    const found: number[] = [];
    for (let run = 0; run < 2; run++) {
      const { tokens, ...next } = await rollout.run({ ...parameters, ...carried });
      found.push(...Array.from((tokens && (await engine.download(tokens))) ?? [], Number));
      tokens?.dispose();
      carried = next as typeof carried;
    }
    expect(found).toEqual(greedy);
    expect(Array.from(await engine.download(carried.starts), Number)).toEqual([10]);
    for (const buffer of [...Object.values(carried), ...Object.values(parameters)]) buffer.dispose();
    for (const executable of [step, rollout]) executable.release();
  });

  it('draws from the softmax at a temperature', async () => {
    const batch = 256;
    const parameters = await upload(engine, model, weights);
    const rollout = await engine.compile(rolloutProgram(model, { batch, capacity, steps: 1, temperature: 2 }));
    const step = await engine.compile(stepProgram(model, { batch: 1, length: 1, capacity }));
    const one = {
      ...(await emptyStates(1)),
      tokens: await engine.upload('int32', [1, 1], Int32Array.of(3)),
      starts: await engine.upload('int32', [1], Int32Array.of(0)),
      lengths: await engine.upload('int32', [1], Int32Array.of(1)),
    };
    const { logits, ...rest } = await step.run({ ...parameters, ...one });
    const scores = Array.from((logits && (await engine.download(logits))) ?? [], Number).map((score) =>
      Math.exp(score / 2),
    );
    const total = scores.reduce((sum, score) => sum + score, 0);
    const mean = scores.reduce((sum, score, id) => sum + (id * score) / total, 0);
    const spread = scores.reduce((sum, score, id) => sum + ((id - mean) ** 2 * score) / total, 0) ** 0.5;
    const drawn = async (seed: number) => {
      const given = {
        ...(await emptyStates(batch)),
        token: await engine.upload('int32', [batch], new Int32Array(batch).fill(3)),
        starts: await engine.upload('int32', [batch], new Int32Array(batch)),
        key: await engine.upload('uint32', [2], Uint32Array.of(seed, 0)),
      };
      const { tokens, ...left } = await rollout.run({ ...parameters, ...given });
      const ids = Array.from((tokens && (await engine.download(tokens))) ?? [], Number);
      for (const buffer of [tokens, given.key, ...Object.values(left)]) buffer?.dispose();
      return ids;
    };
    const ids = await drawn(1);
    const found = ids.reduce((sum, id) => sum + id, 0) / batch;
    // Four standard deviations of the mean of as many draws.
    expect(Math.abs(found - mean)).toBeLessThan((4 * spread) / batch ** 0.5);
    expect(new Set(ids).size).toBeGreaterThan(20);
    expect(await drawn(1)).toEqual(ids);
    expect(await drawn(2)).not.toEqual(ids);
    for (const buffer of [logits, one.tokens, one.starts, one.lengths, ...Object.values(rest)]) buffer?.dispose();
    for (const buffer of Object.values(parameters)) buffer.dispose();
    for (const executable of [step, rollout]) executable.release();
  });

  it('refuses a temperature below 0', () => {
    expect(() => rolloutProgram(model, { batch: 1, capacity, steps: 1, temperature: -1 })).toThrowError(/temperature/);
  });
});
