// The six tasks of MAD, mechanistic architecture design (Poli et al. 2024, arXiv 2403.17844), at the paper's base sizes.
import type { Random } from '../../tensor/index.ts';

/** One row: tokens, and the class that each position should give; `undefined` where none is asked for. */
export interface MadExample {
  readonly inputs: readonly number[];
  readonly targets: readonly (number | undefined)[];
}

/**
 * `train`: recall tasks ask for every next token, as a language model is trained. `test`: only for the tokens that what came
 * before determines.
 */
export type Split = 'train' | 'test';

export interface MadTask {
  readonly name: string;
  readonly vocabSize: number;
  /** Tokens of a row. */
  readonly length: number;
  /** Examples that the paper trains on. */
  readonly trainExamples: number;
  /** Whether the row must be told again from the last token's hidden state alone. */
  readonly autoEncoder: boolean;
  readonly example: (random: Random, split: Split) => MadExample;
}

const below = (random: Random, count: number): number => Math.floor(random.uniform() * count);

function pick<T>(random: Random, from: readonly T[], what: string): T {
  const found = from[below(random, from.length)];
  if (found === undefined) throw new RangeError(`No ${what} to choose from.`);
  return found;
}

/** `size` different numbers from `first` to `first + count - 1`, in random order. */
function motif(random: Random, first: number, count: number, size: number): number[] {
  const left = Array.from({ length: count }, (_, at) => first + at);
  return Array.from({ length: size }, () => left.splice(below(random, left.length), 1)[0] ?? first);
}

/** Inputs and targets of a row of one token more, where `targets` stand at the token itself: shifted by one. */
function shifted(tokens: readonly number[], probed: readonly (number | undefined)[], split: Split): MadExample {
  return { inputs: tokens.slice(0, -1), targets: (split === 'train' ? tokens : probed).slice(1) };
}

/**
 * Keys followed by their values, drawn anew for each row: where a key comes again, its value is asked for. With `noise`, that
 * share of the pairs are two tokens of a vocabulary that means nothing.
 */
function recall(name: string, vocabSize: number, length: number, noise: { share: number; vocabSize: number }): MadTask {
  const meaningful = vocabSize - noise.vocabSize;
  const keys = Math.floor(meaningful / 2);
  const pairs = length / 2;
  return {
    name,
    vocabSize,
    length: length - 1,
    trainExamples: 12_800,
    autoEncoder: false,
    example(random, split) {
      const valueOf = new Map<number, number>();
      const tokens: number[] = [];
      const probed: (number | undefined)[] = [];
      const certain = below(random, pairs - 1);
      for (let pair = 0; pair < pairs - 1; pair++) {
        if (pair !== certain && random.uniform() < noise.share) {
          tokens.push(meaningful + below(random, noise.vocabSize), meaningful + below(random, noise.vocabSize));
          probed.push(undefined, undefined);
          continue;
        }
        const key = below(random, keys);
        const known = valueOf.get(key);
        const value = known ?? keys + below(random, meaningful - keys);
        valueOf.set(key, value);
        tokens.push(key, value);
        probed.push(undefined, known);
      }
      const [key, value] = pick(random, [...valueOf], 'pair');
      return shifted([...tokens, key, value], [...probed, undefined, value], split);
    },
  };
}

/** The same with keys and values of one to three tokens; in test, keys always of three. A filler stands before short rows. */
function fuzzyRecall(vocabSize: number, length: number, most: number): MadTask {
  const filler = vocabSize - 1;
  const keys = Math.floor(filler / 2);
  return {
    name: 'fuzzy-recall',
    vocabSize,
    length,
    trainExamples: 12_800,
    autoEncoder: false,
    example(random, split) {
      const newKey = () => motif(random, 0, keys, split === 'train' ? 1 + below(random, most) : most);
      const newValue = () => motif(random, keys, filler - keys, 1 + below(random, most));
      const valueOf = new Map<string, readonly number[]>();
      const tokens: number[] = [];
      const probed: (number | undefined)[] = [];
      const write = (key: readonly number[], value: readonly number[], known: boolean) => {
        valueOf.set(key.join(), value);
        tokens.push(...key, ...value);
        probed.push(...key.map(() => undefined), ...value.map((token) => (known ? token : undefined)));
      };
      const last = { key: newKey(), value: newValue() };
      const size = last.key.length + last.value.length;
      const room = length - size - 2 * most;
      // The pair asked for at the end is told by the first place from here on; room for it is left.
      const due = below(random, room - 2 * most + 1);
      while (tokens.length < room) {
        const first = !valueOf.has(last.key.join());
        if (first && tokens.length >= due) {
          write(last.key, last.value, false);
          continue;
        }
        const key = newKey();
        const known = valueOf.get(key.join());
        write(key, known ?? (key.join() === last.key.join() ? last.value : newValue()), known !== undefined);
      }
      write(last.key, last.value, true);
      const missing = Math.max(0, length + 1 - tokens.length);
      const front = new Array<undefined>(missing).fill(undefined);
      return shifted([...front.map(() => filler), ...tokens], [...front, ...probed], split);
    },
  };
}

/** Tokens among blanks; after a sign, they are asked for in their order, one at each blank. */
function selectiveCopying(vocabSize: number, length: number, count: number): MadTask {
  const [blank, copy] = [vocabSize - 2, vocabSize - 1];
  return {
    name: 'selective-copying',
    vocabSize,
    length,
    trainExamples: 12_800,
    autoEncoder: false,
    example(random) {
      const wanted = Array.from({ length: count }, () => below(random, vocabSize - 2));
      const before = new Array<number>(count).fill(0);
      for (let blanks = length - 2 * count - 1; blanks > 0; blanks--) {
        const at = below(random, count);
        before[at] = (before[at] ?? 0) + 1;
      }
      const told = wanted.flatMap((token, at) => [...new Array<number>(before[at] ?? 0).fill(blank), token]);
      return {
        inputs: [...told, copy, ...wanted.map(() => blank)],
        targets: [...told.map(() => undefined), undefined, ...wanted],
      };
    },
  };
}

/** Random tokens and a last sign: from the sign's hidden state alone the whole row is told again. */
function compression(vocabSize: number, length: number): MadTask {
  return {
    name: 'compression',
    vocabSize,
    length,
    trainExamples: 12_800,
    autoEncoder: true,
    example(random) {
      const inputs = [...Array.from({ length: length - 1 }, () => below(random, vocabSize - 1)), vocabSize - 1];
      return { inputs, targets: inputs };
    },
  };
}

/** Keys, each followed by a sign where its value is asked for. The pairs are the same in every row, and nowhere told. */
function memorisation(vocabSize: number, length: number, valueOf: readonly number[]): MadTask {
  const sign = vocabSize - 1;
  return {
    name: 'memorisation',
    vocabSize,
    length,
    trainExamples: 256,
    autoEncoder: false,
    example(random) {
      const keys = Array.from({ length: length / 2 }, () => below(random, valueOf.length));
      return { inputs: keys.flatMap((key) => [key, sign]), targets: keys.flatMap((key) => [undefined, valueOf[key]]) };
    },
  };
}

/** The six, in the paper's order; `random` draws the pairs to be memorised. */
export function madTasks(random: Random): readonly MadTask[] {
  const keys = Math.floor(255 / 2);
  return [
    recall('in-context-recall', 16, 128, { share: 0, vocabSize: 0 }),
    fuzzyRecall(16, 128, 3),
    recall('noisy-recall', 32, 128, { share: 0.2, vocabSize: 16 }),
    selectiveCopying(16, 256, 16),
    compression(16, 32),
    memorisation(256, 32, motif(random, keys, 255 - keys, keys)),
  ];
}
