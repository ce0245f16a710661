// Backbone genomes of STAR (arXiv 2411.17800): five numbers for each LIV of a model, in the order of depth. Text in and out.
import { hashText } from '../../tensor/index.ts';
import { badGenome, parseTuple, printTuple } from '../space/operator-genome.ts';

/**
 * Class, featurizer-sharing group, featurizer-sharing strategy, feature-sharing group, feature-sharing strategy; all from 1.
 * LIVs of one class with one group number share, as the strategy says; strategy 1 shares nothing.
 */
export type LivGenes = readonly [number, number, number, number, number];

export type Genome = readonly LivGenes[];

export const geneNames = [
  'class',
  'featurizer-sharing group',
  'featurizer-sharing strategy',
  'feature-sharing group',
  'feature-sharing strategy',
] as const;

/** Of one genome: far above any model, and files are not trusted. */
export const MOST_LIVS = 1024;

/** 21211-31112-21221; where a number is above 9, dots between the five: 10.1.1.1.1. */
export function printGenome(genome: Genome): string {
  return genome.map(printTuple).join('-');
}

/** The genome of a text, whether or not it can be built: that is for `validateGenome` to say. Errors: `bad-genome`. */
export function parseGenome(text: string): Genome {
  const parts = text.trim().split('-');
  if (parts.length > MOST_LIVS) throw badGenome(`genome: expected at most ${MOST_LIVS} LIVs; found ${parts.length}`);
  return parts.map((part, index): LivGenes => {
    const [a = 0, b = 0, c = 0, d = 0, e = 0] = parseTuple(part, 5, `genome, LIV ${index + 1}`);
    return [a, b, c, d, e];
  });
}

/** Where groups and strategies stand in the five. */
export const sharingGenes = [
  { kind: 'featurizer', group: 1, strategy: 2 },
  { kind: 'features', group: 3, strategy: 4 },
] as const;

/**
 * The one genome of all that make the same model: who shares nothing is in group 1 by strategy 1, groups that share are
 * numbered from 2 in the order of their first LIVs, in each class.
 */
export function canonicalGenome(genome: Genome): Genome {
  const genes = genome.map((liv): number[] => [...liv]);
  for (const { group, strategy } of sharingGenes) {
    const members = (at: number) =>
      genome.filter((other) => other[0] === genome[at]?.[0] && other[group] === genome[at]?.[group]).length;
    const seen = new Map<string, number>();
    const counts = new Map<number, number>();
    genome.forEach((liv, index) => {
      const own = genes[index] ?? [];
      if (liv[strategy] === 1 || members(index) < 2) {
        [own[group], own[strategy]] = [1, 1];
        return;
      }
      const key = `${liv[0]}/${liv[group]}`;
      const number = seen.get(key) ?? (counts.get(liv[0]) ?? 1) + 1;
      seen.set(key, number);
      counts.set(liv[0], Math.max(number, counts.get(liv[0]) ?? 1));
      own[group] = number;
    });
  }
  return genes.map(([a = 1, b = 1, c = 1, d = 1, e = 1]): LivGenes => [a, b, c, d, e]);
}

/** 64 hexadecimal digits: genomes that make the same model hash equally. */
export function hashGenome(genome: Genome): Promise<string> {
  return hashText(printGenome(canonicalGenome(genome)));
}
