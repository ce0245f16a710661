// The operators that are no recurrence with a matrix state: each against its oracle, and what every operator promises.
import { expect, it } from 'vitest';
import { attention, cfc, findOperator, latentAttention, longConv, ltc, sharedTransformer } from './index.ts';
import type { Operator } from './index.ts';
import { itKeepsThePromises } from './testing-conformance.ts';
import { fixtureNames, readFixture } from './testing-fixture.node.ts';
import type { Stored } from './testing.ts';
import { allEngines, describeOnEngines, difference, operatorProgram, run, stored } from './testing.ts';

interface Fixture {
  readonly operator: string;
  readonly options: object;
  readonly parameters: Readonly<Record<string, Stored>>;
  readonly x: Stored;
  readonly y: Stored;
  readonly timeSteps?: Stored;
  readonly embeddings?: Stored;
}

const small: Readonly<Record<string, Operator>> = {
  'attention in a window': attention({ heads: 4, keyValueHeads: 2, window: 4 }),
  'attention in a window behind sinks': attention({ heads: 2, headDim: 8, window: 3, sinks: 2 }),
  'attention in a wide window': attention({ heads: 4, window: 600, sinks: 1 }),
  cfc: cfc({ backboneUnits: 9 }),
  latent_attention: latentAttention({
    heads: 2,
    kvLoraRank: 6,
    qLoraRank: 5,
    qkNopeHeadDim: 2,
    qkRopeHeadDim: 4,
    vHeadDim: 8,
  }),
  long_conv: longConv({ length: 16, filterOrder: 5, chunkSize: 4 }),
  ltc: ltc({ units: 7, unfolds: 3 }),
  shared_transformer: sharedTransformer({
    heads: 4,
    keyValueHeads: 2,
    intermediateSize: 12,
    adapterRank: 2,
    attentionAdapters: true,
    theta: 100,
  }),
};

const all = await allEngines();
describeOnEngines(
  'operators against oracles',
  (engine) => {
    it.each(fixtureNames('operators'))('%s', async (name) => {
      const { operator, options, parameters, x, y, timeSteps, embeddings } = readFixture<Fixture>(name);
      const given = Object.fromEntries(Object.entries(parameters).map(([key, value]) => [key, stored(value)]));
      const more = { timed: !!timeSteps, embedded: !!embeddings };
      const program = operatorProgram(findOperator(operator)(options), parameters, [2, 11, 16], more);
      const found = await run(engine, program, {
        ...given,
        x: stored(x),
        ...(timeSteps && { time_steps: stored(timeSteps) }),
        ...(embeddings && { embeddings: stored(embeddings) }),
      });
      expect(difference(found['y'], stored(y))).toBeLessThan(1e-4);
    });
  },
  all,
);

describeOnEngines('operators', (engine) => {
  itKeepsThePromises(engine, small);
});
