// The loop over a pretended trainer: order, how far it runs ahead, pauses, and how it stops.
import { describe, expect, it } from 'vitest';
import type { Loader } from '../data/loader.ts';
import type { LoopOptions, StepReport } from './loop.ts';
import { runSteps } from './loop.ts';
import type { StepResult, Trainer } from './trainer.ts';

/** A trainer whose steps end when `finish` is called: an engine that answers before it is done. */
function lateTrainer(resultOf: (step: number) => StepResult = (step) => ({ loss: step, norm: 1, metrics: {} })) {
  const waiting: { step: number; resolve: (result: StepResult) => void }[] = [];
  const issued: number[] = [];
  const trainer: Trainer = {
    parameters: {},
    step: async (batch, step) => {
      if (batch instanceof Int32Array) issued.push(Number(batch[0]));
      return { result: new Promise((resolve) => waiting.push({ step, resolve })) };
    },
    parts: () => [],
    read: async () => new Float32Array(0),
    dispose: () => {},
  };
  const finish = async (): Promise<void> => {
    await turn();
    const next = waiting.shift();
    if (next) next.resolve(resultOf(next.step));
    await turn();
  };
  return { trainer, issued, waiting, finish };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function countingLoader(): Loader {
  let count = 0;
  return {
    next: async () => ({ tokens_BT: Int32Array.of(++count), sources_B: [0] }),
    cursor: () => ({ version: 1, seed: 0, length: count, sources: [] }),
  };
}

function options(
  trainer: Trainer,
  changes: Partial<LoopOptions> = {},
): LoopOptions & { reports: StepReport[]; pauses: string[] } {
  const reports: StepReport[] = [];
  const pauses: string[] = [];
  return {
    trainer,
    loader: countingLoader(),
    tokensPerStep: 10,
    firstStep: 1,
    steps: 6,
    learningRate: () => 1,
    onStep: (report) => reports.push(report),
    pausesAt: () => false,
    onPause: async (step, cursor, stopping) =>
      void pauses.push(`${step} at ${cursor.length}${stopping ? ' stopping' : ''} after ${reports.length}`),
    ...changes,
    reports,
    pauses,
  };
}

describe('runSteps', () => {
  it('keeps few steps under way, and reports them in order', async () => {
    const late = lateTrainer();
    const given = options(late.trainer);
    const run = runSteps(given);
    for (let i = 0; i < 20; i++) await turn();
    expect(late.issued).toEqual([1, 2, 3]);
    for (let i = 0; i < 6; i++) await late.finish();
    expect(await run).toEqual({ stopped: false });
    expect(late.issued).toEqual([1, 2, 3, 4, 5, 6]);
    expect(given.reports.map(({ step, loss }) => [step, loss])).toEqual([1, 2, 3, 4, 5, 6].map((step) => [step, step]));
  });

  it('pauses only when everything is done, with the cursor of the last batch that was used', async () => {
    const late = lateTrainer();
    const given = options(late.trainer, { pausesAt: (step) => step === 2 });
    const run = runSteps(given);
    for (let i = 0; i < 6; i++) await late.finish();
    await run;
    expect(given.pauses).toEqual(['2 at 2 after 2', '6 at 6 after 6']);
  });

  it.each([
    [{ loss: Number.NaN, norm: 1, metrics: {} }, 'Step 3: the loss is NaN'],
    [{ loss: 1, norm: Infinity, metrics: {} }, 'Step 3: the gradient norm is Infinity'],
  ])('stops at a result that is no number, and names the step', async (bad, message) => {
    const late = lateTrainer((step) => (step === 3 ? bad : { loss: 1, norm: 1, metrics: {} }));
    const given = options(late.trainer);
    const run = runSteps(given);
    run.catch(() => {});
    for (let i = 0; i < 6; i++) await late.finish();
    await expect(run).rejects.toMatchObject({ code: 'not-finite', message: expect.stringContaining(message) });
    expect(given.reports.map(({ step }) => step)).toEqual([1, 2]);
    expect(given.pauses).toEqual([]);
  });

  it('stops where the loss has come to more than twice what it began with', async () => {
    const late = lateTrainer((step) => ({ loss: step <= 30 ? 2 : 8, norm: 1, metrics: {} }));
    const given = options(late.trainer, { steps: 60 });
    const run = runSteps(given);
    run.catch(() => {});
    for (let i = 0; i < 60; i++) await late.finish();
    await expect(run).rejects.toMatchObject({ code: 'diverged', message: expect.stringContaining('Step 38') });
  });

  it('stops after the present step when asked to, with a pause', async () => {
    const late = lateTrainer();
    const abort = new AbortController();
    const given = options(late.trainer, { signal: abort.signal });
    const run = runSteps(given);
    await late.finish();
    abort.abort();
    for (let i = 0; i < 4; i++) await late.finish();
    expect(await run).toEqual({ stopped: true });
    expect(given.pauses).toEqual([expect.stringMatching(/^(\d) at \1 stopping after \1$/)]);
    expect(given.reports.length).toBeLessThan(6);
  });

  it('passes on what the loader and the pause throw, with nothing left behind', async () => {
    const broken: Loader = { ...countingLoader(), next: () => Promise.reject(new Error('no more text')) };
    await expect(runSteps(options(lateTrainer().trainer, { loader: broken }))).rejects.toThrow('no more text');
    const late = lateTrainer();
    const run = runSteps(
      options(late.trainer, { pausesAt: () => true, onPause: () => Promise.reject(new Error('disk')) }),
    );
    run.catch(() => {});
    await late.finish();
    await expect(run).rejects.toThrow('disk');
  });

  it('tells speed and the time that is left', async () => {
    const late = lateTrainer();
    const given = options(late.trainer, { steps: 2 });
    const run = runSteps(given);
    for (let i = 0; i < 2; i++) await late.finish();
    await run;
    const [first, last] = given.reports;
    expect(first?.etaSeconds).toBeGreaterThan(0);
    expect(last?.etaSeconds).toBe(0);
    expect(last?.tokensPerSecond).toBeGreaterThan(0);
    expect(first).toMatchObject({ tokens: 10, learningRate: 1, steps: 2 });
  });
});
