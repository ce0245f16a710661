// What npm run bench -- generate measures of its sides, each round in turn.
import { Random } from '../src/tensor/index.ts';
import type { Side } from './generate-side.ts';
import { median } from './median.ts';

export interface Row {
  readonly model: string;
  readonly what: string;
  readonly unit: string;
  /** By side: medians of the rounds. */
  readonly values: Readonly<Record<string, number>>;
  /** Of lfm's modes: the median over rounds of its rate over the rival's in the same round. */
  readonly ratios?: Readonly<Record<string, number>>;
  /** Of lfm's modes: bytes that a token moves times tokens a second, over the measured read bandwidth. */
  readonly shares?: Readonly<Record<string, number>>;
}

interface Options {
  readonly rounds: number;
  readonly model: string;
}

type Measure = (sides: readonly Side[], options: Options) => Promise<Row[]>;

/** Ids that both models have, none of them special. */
const [FIRST_ID, IDS] = [1000, 2000];
const DECODED = 32;
const TURN = 2000;
const ASKED = 24;
const ANSWERED = 16;
const BATCH = 8;
const RIVAL = 'node-llama-cpp';

const random = new Random(11);
const draw = (count: number): number[] => Array.from({ length: count }, () => FIRST_ID + (random.bits() % IDS));

/** Figures by name for each side, by round: rounds go over the sides in turn. The first, which warms up, is left out. */
async function byRounds<Key extends string>(
  sides: readonly Side[],
  rounds: number,
  measure: (side: Side, round: number) => Promise<Readonly<Record<Key, number>>>,
): Promise<Record<string, Readonly<Record<Key, number>>[]>> {
  const found: Record<string, Readonly<Record<Key, number>>[]> = {};
  for (let round = 0; round <= rounds; round++)
    for (const side of sides) {
      const figures = await measure(side, round);
      if (round > 0) (found[side.name] ??= []).push(figures);
    }
  return found;
}

/** A row of rates (more is better). */
function rateRow<Key extends string>(
  { model }: Options,
  key: Key,
  unit: string,
  found: Readonly<Record<string, Readonly<Record<Key, number>>[]>>,
): Row {
  const rates = (name: string) => (found[name] ?? []).map((figures) => figures[key]);
  const names = Object.keys(found);
  const rival = rates(RIVAL);
  const ratios = names
    .filter((name) => name !== RIVAL && rival.length > 0)
    .map((name) => [name, median(rates(name).map((rate, round) => rate / (rival[round] ?? NaN)))]);
  return {
    model,
    what: key,
    unit,
    values: Object.fromEntries(names.map((name) => [name, median(rates(name))])),
    ratios: Object.fromEntries(ratios),
  };
}

const prefill: Measure = async (sides, options) => {
  const found = await byRounds(sides, options.rounds, async (side, round) => {
    const rate = async (length: number) => (1000 * length) / ((await side.text(draw(length), 1)).times[0] ?? NaN);
    // lfm has programs for each size of state, compiled once.
    if (round === 0 && !side.isOurs) return { 'prefill 512': await rate(64), 'prefill 2048': NaN };
    return { 'prefill 512': await rate(512), 'prefill 2048': await rate(2048) };
  });
  return (['prefill 512', 'prefill 2048'] as const).map((key) => rateRow(options, key, 'tokens/s', found));
};

const decode: Measure = async (sides, options) => {
  const [reader] = sides.filter(({ isOurs }) => isOurs);
  const bandwidth = (await reader?.ask<{ bytesPerSecond: number }>({ name: 'bandwidth' }))?.bytesPerSecond ?? NaN;
  const rows: Row[] = [];
  for (const context of [32, 512, 4096]) {
    const key = `decode at ${context}`;
    // A long prompt is taken in once; the rounds go on from there.
    const prompts = new Map(sides.map((side) => [side, draw(Math.max(DECODED / 4, context - DECODED))]));
    const found = await byRounds(sides, options.rounds, async (side, round) => {
      const prompt = prompts.get(side) ?? [];
      const { ids, times } = await side.text(prompt, 1 + DECODED, { goesOn: round > 0 });
      prompts.set(side, [...prompt, ...ids]);
      return { [key]: 1000 / median(times.slice(1)) };
    });
    const row = rateRow(options, key, 'tokens/s', found);
    const shares: Record<string, number> = {};
    for (const side of sides.filter(({ isOurs }) => isOurs)) {
      const { bytes } = await side.ask<{ bytes: number }>({ name: 'bytes', context });
      shares[side.name] = (bytes * (row.values[side.name] ?? NaN)) / bandwidth;
    }
    rows.push({ ...row, shares });
  }
  const values = { lfm: bandwidth / 1e9 };
  return [...rows, { model: options.model, what: 'read bandwidth', unit: 'GB/s', values }];
};

const turns: Measure = async (sides, options) => {
  const found = await byRounds(sides, options.rounds, async (side, round) => {
    const prompt = draw(round === 0 && !side.isOurs ? ASKED : TURN);
    const first = await side.text(prompt, ANSWERED);
    const next = [...prompt, ...first.ids, ...draw(ASKED)];
    const second = await side.text(next, ANSWERED, { goesOn: true });
    const alone = await side.text(next, ANSWERED);
    const perSecond = ({ times }: { times: readonly number[] }) => 1000 / (times[0] ?? NaN);
    return {
      'first token, turn one': perSecond(first),
      'first token, turn two': perSecond(second),
      'first token, turn two uncached': perSecond(alone),
      'same tokens': Number(second.ids.join() === alone.ids.join()),
      'cache gains': perSecond(second) / perSecond(alone),
    };
  });
  const keys = ['first token, turn one', 'first token, turn two', 'first token, turn two uncached'] as const;
  return [
    ...keys.map((key) => rateRow(options, key, '1/s', found)),
    rateRow(options, 'cache gains', 'times', found),
    rateRow(options, 'same tokens', 'of 1', found),
  ];
};

const batch: Measure = async (sides, options) => {
  const found = await byRounds(sides, options.rounds, async (side) => {
    const rate = async (count: number) => {
      const prompts = Array.from({ length: count }, () => draw(32));
      const { arrived } = await side.ask<{ arrived: number[][] }>({ name: 'batch', prompts, count: 2 * DECODED });
      // While all run: a text has its place once its second token has come.
      const from = Math.max(...arrived.map((times) => times[1] ?? NaN));
      const to = Math.min(...arrived.map((times) => times.at(-1) ?? NaN));
      return (1000 * arrived.flat().filter((time) => time > from && time <= to).length) / (to - from);
    };
    const [one, several] = [await rate(1), await rate(BATCH)];
    return { 'batch of 8': several, 'batch of 8 over one': several / one };
  });
  return [rateRow(options, 'batch of 8', 'tokens/s', found), rateRow(options, 'batch of 8 over one', 'times', found)];
};

const article = `The old lighthouse at Marrow Point was built in 1851 by the engineer Thomas Hale. It stands 42 metres above the sea and its lamp could be seen from 30 kilometres away. For ninety years a keeper lived in the small house beside the tower. The last keeper, Anna Pell, left in 1941, when the lamp was changed to an electric one. Today the lighthouse is a museum. Visitors climb the 212 steps to the lantern room, where the first lens still stands. The museum is open from May to October, and children may enter without a ticket.`;
const task = `Repeat the following text word for word, but write "Thomas Reed" in place of "Thomas Hale".\n\n${article}`;
const LOOKED_UP = 8;
const EDITED = 128;

/** Of the real model only: random weights repeat nothing. */
const lookup: Measure = async (sides, options) => {
  const [reader] = sides.filter(({ isOurs }) => isOurs);
  if (options.model !== 'smollm2-135m' || !reader) return [];
  const { tokens } = await reader.ask<{ tokens: number[] }>({ name: 'encode', message: task });
  const found = await byRounds(sides, options.rounds, async (side) => {
    const plain = await side.text(tokens, EDITED);
    const guessed = await side.text(tokens, EDITED, { promptLookup: LOOKED_UP });
    const rate = ({ times }: { times: readonly number[] }) =>
      (1000 * (times.length - 1)) / times.slice(1).reduce((a, b) => a + b, 0);
    return {
      'edit, plain': rate(plain),
      'edit, prompt lookup': rate(guessed),
      'lookup gains': rate(guessed) / rate(plain),
      'lookup gives the same': Number(plain.ids.join() === guessed.ids.join()),
    };
  });
  return [
    rateRow(options, 'edit, plain', 'tokens/s', found),
    rateRow(options, 'edit, prompt lookup', 'tokens/s', found),
    rateRow(options, 'lookup gains', 'times', found),
    rateRow(options, 'lookup gives the same', 'of 1', found),
  ];
};

/** First of all: a process never gives all of its memory back. */
const memory: Measure = async (sides, { model }) => {
  const row = async (what: string, kind: 'anonymous' | 'resident'): Promise<Row> => {
    const values: Record<string, number> = {};
    for (const side of sides) values[side.name] = (await side.memory())[kind] / 1e6;
    return { model, what: `${what}, ${kind}`, unit: 'MB', values };
  };
  const rows = [await row('memory after load', 'anonymous'), await row('memory after load', 'resident')];
  for (const side of sides) await side.text(draw(4000), 8);
  return [...rows, await row('memory at 4K', 'anonymous'), await row('memory at 4K', 'resident')];
};

export const measures: Readonly<Record<string, Measure>> = { memory, prefill, decode, turns, batch, lookup };
