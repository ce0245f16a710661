// Genomes: text in and out, what cannot be built and what is near it, and models from them and back.
import { describe, expect, it } from 'vitest';
import { modelFromConfig, toLiquid } from '../../models/index.ts';
import { printProgram } from '../../tensor/index.ts';
import type { Model } from '../index.ts';
import {
  attention,
  canonicalGenome,
  defineModel,
  featurizers,
  genomeOf,
  genomeProblems,
  hashGenome,
  layer,
  liv,
  livClasses,
  modelFromGenome,
  operatorGenome,
  parseFeaturizerGenome,
  parseGenome,
  parseOperatorGenome,
  printFeaturizerGenome,
  printGenome,
  randomGenome,
  repairGenome,
  shared,
  shortConv,
  stack,
  block,
  stepProgram,
  swiglu,
  validateGenome,
} from '../index.ts';
import { describeOnEngines } from '../testing.ts';
import { requireSound } from '../space/testing-space.ts';

const sizes = { vocabSize: 24, hiddenSize: 16, initializerRange: 0.3, headDim: 4, intermediateSize: 24 };
/** STAR's own example. */
const EXAMPLE = '21211-31112-21221-32112';
/** `LFM_FULL=1`, as `npm run test:full` sets it, tries 200 genomes on every engine; else 25 on one. */
const IS_FULL = process.env['LFM_FULL'] !== undefined;
const SEEDS = Array.from({ length: IS_FULL ? 200 : 25 }, (_, seed) => seed);
const RANDOM = SEEDS.map((seed) => [seed, randomGenome(seed, 1 + (seed % 5))] as const);

const textOf = (model: Model) => printProgram(stepProgram(model, { batch: 1, length: 2, capacity: 4 }));

describe('text', () => {
  it('of genomes goes out and comes back', () => {
    expect(printGenome(parseGenome(EXAMPLE))).toBe(EXAMPLE);
    expect(printGenome(parseGenome(' 10.1.1.12.1-91111\n'))).toBe('10.1.1.12.1-91111');
    for (const seed of SEEDS) {
      const genome = randomGenome(seed, 24);
      expect(parseGenome(printGenome(genome))).toEqual(genome);
    }
  });

  it.each(['', '2121', '212111', '21211--31112', '1.2.3', '2121x', '-1', '1.1.1.1.9999999', '2.1.2.1.'])(
    'refuses %j',
    (text) => {
      expect(() => parseGenome(text)).toThrow(expect.objectContaining({ code: 'bad-genome' }));
    },
  );

  it('of operators and featurizers too', () => {
    for (const { parts } of livClasses) {
      const text = operatorGenome(parts) ?? '';
      expect(operatorGenome(parseOperatorGenome(text))).toBe(text);
    }
    expect(Object.values(featurizers).map(printFeaturizerGenome)).toEqual([
      'c1211-b1211-v1211',
      'c3211-b3211-v3211',
      'c1211-b1214-v1214',
      'c1211-b1212-v1212',
      'c1.2.16.1-b1.2.16.1-v1211',
      'c1221-b1221-v1211',
      'c1211-b1211-v1211-k3131',
      'c1211-b1211-v1211-k4181',
      'c1241-v1241',
    ]);
    for (const one of Object.values(featurizers))
      expect(parseFeaturizerGenome(printFeaturizerGenome(one))).toEqual(one);
    expect(() => parseOperatorGenome('12323')).toThrow(/gene 3 \(sparsity\) is 3; expected 1 to 2/);
    expect(() => parseFeaturizerGenome('c1511')).toThrow(/group c: its channel mixing is 5; expected 1 to 3/);
    expect(() => parseFeaturizerGenome('x1211')).toThrow(/begin with one of c, b, v, k/);
    expect(() => parseFeaturizerGenome('c1201')).toThrow(/expected an expansion and a repeat from 1/);
  });
});

describe('what cannot be built', () => {
  const refusal = (text: string) => () => validateGenome(parseGenome(text));

  it('names its gene', () => {
    expect(refusal(EXAMPLE)).not.toThrow();
    expect(refusal('18.1.1.1.1')).toThrow('gene 1 of LIV 1 (class) is 18; expected 1 to 17');
    expect(refusal('91111-11911')).toThrow(
      'gene 3 of LIV 2 (featurizer-sharing strategy of SA-1) is 9; expected 1 to 5',
    );
    expect(refusal('11111-13111')).toThrow('gene 2 of LIV 2 (featurizer-sharing group of SA-1) is 3; expected 1 to 2');
    expect(refusal('91114')).toThrow('gene 5 of LIV 1 (feature-sharing strategy of GMemless) is 4; expected 1 to 3');
  });

  it('names both LIVs that share in two ways', () => {
    expect(refusal('11211-91111-11311')).toThrow(
      'gene 3 of LIV 3 (featurizer-sharing strategy of SA-1) is 3; expected 2, as at LIV 1: both are SA-1 in featurizer-sharing group 1',
    );
  });

  it('is repaired to the nearest that can', () => {
    expect(printGenome(repairGenome(parseGenome('18.1.1.1.1')))).toBe('17.1.1.1.1');
    expect(printGenome(repairGenome([[3, 7, 9, 0, -2], [1], []]))).toBe('33511-11111-11111');
    expect(printGenome(repairGenome([[1.4, NaN, 2, 1, Infinity]]))).toBe('11214');
    // Most of a group decide; of equals the first.
    expect(printGenome(repairGenome(parseGenome('11211-11311-11311')))).toBe('11311-11311-11311');
    expect(printGenome(repairGenome(parseGenome('11211-11311')))).toBe('11211-11211');
    expect(() => repairGenome([])).toThrow(/expected 1 to 1024 LIVs/);
    for (const seed of SEEDS) {
      const genome = randomGenome(seed, 9);
      expect(repairGenome(genome)).toEqual(genome);
      const broken = genome.map((genes, index) => genes.map((gene) => gene * ((index + seed) % 4)));
      const fixed = repairGenome(broken);
      expect(genomeProblems(fixed)).toEqual([]);
      expect(repairGenome(broken)).toEqual(fixed);
    }
  });

  it('says which sizes would divide', () => {
    const build = (text: string, hiddenSize: number) => () =>
      modelFromGenome(parseGenome(text), { vocabSize: 24, hiddenSize, headDim: 4 });
    expect(build('31111', 40)).toThrow(
      'hidden size of 40 cannot be cut into heads of 4, 4 of them to a key; 32 or 48 can',
    );
    expect(build('51111', 6)).toThrow('hidden size of 6 cannot be cut into heads of 4; 4 or 8 can');
  });

  it('where layers that share are unlike, both are named', () => {
    const groups = { features: { group: 'g', names: ['b', 'v'] } };
    const [one, other] = [12123, 32123].map((code) => liv({ ...parseOperatorGenome(String(code)), headDim: 4 }));
    if (!one || !other) throw new Error('no operators');
    const layers = [one, other].map((operator) => stack(block(shared(operator, groups))));
    expect(() => defineModel({ ...sizes, layers })).toThrow(/SA-3 at depth 1 cannot share with SA-1 at depth 0/);
  });
});

describe('equal genomes', () => {
  it('hash equally, whatever their groups are numbered', async () => {
    const hash = (text: string) => hashGenome(parseGenome(text));
    expect(await hash('12211-91111-12211')).toBe(await hash('13211-91111-13211'));
    expect(await hash('11211-91111-12211')).toBe(await hash('11111-91111-11111'));
    expect(await hash('11211-91111-11211')).not.toBe(await hash('11111-91111-11111'));
    expect(await hash(EXAMPLE)).toMatch(/^4b654aecbccf21e2[0-9a-f]{48}$/);
  });

  it('are one canonical genome, which makes the same model', () => {
    for (const seed of SEEDS) {
      const genome = randomGenome(seed, 6);
      const canonical = canonicalGenome(genome);
      validateGenome(canonical);
      expect(canonicalGenome(canonical)).toEqual(canonical);
      expect(textOf(modelFromGenome(canonical, sizes))).toBe(textOf(modelFromGenome(genome, sizes)));
    }
  });
});

describe('a model', () => {
  it('shares as its genome says', () => {
    const model = modelFromGenome(parseGenome(EXAMPLE), sizes);
    expect(
      model.links.map(({ kind, depth, leader, names, states }) => ({ kind, depth, leader, names, states })),
    ).toEqual([
      {
        kind: 'weights',
        depth: 2,
        leader: 0,
        names: ['c_conv.weight', 'c_proj.weight', 'b_conv.weight', 'b_proj.weight', 'v_conv.weight', 'v_proj.weight'],
        states: [],
      },
      { kind: 'features', depth: 3, leader: 1, names: ['b', 'v'], states: ['keys', 'values'] },
    ]);
    expect(Object.keys(model.states).filter((name) => name.startsWith('layers.3'))).toEqual([]);
  });

  it('tells its genome', () => {
    for (const seed of SEEDS) {
      const genome = canonicalGenome(randomGenome(seed, 6));
      const found = genomeOf(modelFromGenome(genome, sizes));
      expect(canonicalGenome(found.genome)).toEqual(genome);
      expect(modelFromGenome(found.genome, { ...sizes, ...found.sizes }).parameters).toEqual(
        modelFromGenome(genome, sizes).parameters,
      );
    }
  });

  it('of named operators tells its genome too', () => {
    const mlp = swiglu({ intermediateSize: 24 });
    const kv = { features: { group: 'kv', names: ['k', 'v'] } };
    const grouped = shared(attention({ heads: 4, keyValueHeads: 1, qkNorm: false }), kv);
    const model = defineModel({
      ...sizes,
      layers: [layer(shortConv(), mlp), layer(grouped, mlp), layer(grouped, mlp)],
    });
    const { genome, sizes: open } = genomeOf(model);
    expect(printGenome(genome)).toBe('71111-91111-31122-91111-31122-91111');
    expect(open).toEqual({ headDim: 4, intermediateSize: 24 });
    const normed = defineModel({ ...sizes, layers: [layer(shortConv(), mlp), layer(attention({ heads: 4 }), mlp)] });
    expect(() => genomeOf(normed)).toThrow(/at layer 1: attention with its options is none of the 17 classes/);
    const uneven = defineModel({
      ...sizes,
      layers: [layer(shortConv(), mlp), layer(shortConv(), swiglu({ intermediateSize: 8 }))],
    });
    expect(() => genomeOf(uneven)).toThrow(/at layer 1: its intermediateSize is 8, that of layers before it 24/);
  });

  it('may be a configuration', () => {
    const config = { model_type: 'liquid', liquid_version: 1, vocab_size: 24, hidden_size: 16 };
    const written = modelFromConfig({ ...config, genome: EXAMPLE, head_dim: 4, initializer_range: 0.3 });
    expect(textOf(written)).toBe(textOf(modelFromGenome(parseGenome(EXAMPLE), sizes)));
    expect(Object.keys(written.config?.['layers'] ?? {})).toEqual(['SA-2', 'SA-3']);
    for (const [wrong, message] of [
      [{ genome: '99999' }, /gene 2 of LIV 1/],
      [{ genome: '11111' }, /hidden size of 16 cannot be cut into heads of 64; 64 can/],
      [{ genome: 7 }, /genome/],
      [{ genome: '11111', layers: {} }, /give one of the two/],
    ] as const)
      expect(() => modelFromConfig({ ...config, ...wrong })).toThrow(message);
  });
});

describe('random genomes', () => {
  it('share in all the ways there are', () => {
    const links = RANDOM.map(([, genome]) => modelFromGenome(genome, sizes).links.map(({ kind }) => kind));
    expect(links.filter((kinds) => kinds.includes('weights')).length).toBeGreaterThan(SEEDS.length / 3);
    expect(links.filter((kinds) => kinds.includes('features')).length).toBeGreaterThan(SEEDS.length / 3);
    const classes = new Set(SEEDS.flatMap((seed) => randomGenome(seed, 24).map(([id]) => id)));
    expect(classes.size).toBe(17);
  });
});

describeOnEngines('random genomes', (engine) => {
  const chosen = IS_FULL || engine?.name === 'reference' ? RANDOM : RANDOM.slice(0, 1);
  it.each(chosen)('%i: is sound, and comes back from its configuration', async (_, genome) => {
    const model = modelFromGenome(genome, sizes);
    await requireSound(engine, model);
    const config: unknown = JSON.parse(JSON.stringify(toLiquid(model, { pad: null, endOfText: 0 })));
    const again = modelFromConfig(config);
    expect(again.parameters).toEqual(model.parameters);
    expect(textOf(again)).toBe(textOf(model));
  });
});
