// Which genomes can be built, what is wrong with those that cannot, and the nearest that can; random ones.
import { Random } from '../../tensor/index.ts';
import { livClasses } from '../space/classes.ts';
import { badGenome } from '../space/operator-genome.ts';
import type { Genome, LivGenes } from './genome.ts';
import { geneNames, MOST_LIVS, sharingGenes } from './genome.ts';
import { strategyCount } from './strategies.ts';

/** A gene that cannot be. */
export interface GenomeProblem {
  /** Place in the genome, from 0. */
  readonly liv: number;
  /** Place in the five, from 0. */
  readonly gene: number;
  readonly value: number;
  readonly allowed: readonly number[];
  /** Another LIV that it is at odds with. */
  readonly with?: number;
}

const range = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

const classAt = (liv: LivGenes | undefined) => livClasses[(liv?.[0] ?? 0) - 1];

/** What a gene may be, given the genes before it. */
function allowedAt(liv: LivGenes, gene: number, livs: number): readonly number[] {
  if (gene === 0) return range(livClasses.length);
  const sharing = sharingGenes.find(({ strategy }) => strategy === gene);
  const one = classAt(liv);
  return sharing ? range(one ? strategyCount(one, sharing.kind) : 1) : range(livs);
}

/** The first LIV before `index` of its class and group. */
function leaderOf(genome: Genome, index: number, group: number): number {
  const liv = genome[index];
  return genome.findIndex((other, at) => at < index && other[0] === liv?.[0] && other[group] === liv?.[group]);
}

/** All that is wrong with a genome, in order. */
export function genomeProblems(genome: Genome): readonly GenomeProblem[] {
  return genome.flatMap((liv, index) =>
    liv.flatMap((value, gene): GenomeProblem[] => {
      const allowed = allowedAt(liv, gene, genome.length);
      if (!allowed.includes(value)) return [{ liv: index, gene, value, allowed }];
      const sharing = sharingGenes.find(({ strategy }) => strategy === gene);
      const leader = sharing ? leaderOf(genome, index, sharing.group) : -1;
      const theirs = genome[leader]?.[gene];
      if (theirs === undefined || theirs === value) return [];
      return [{ liv: index, gene, value, allowed: [theirs], with: leader }];
    }),
  );
}

/** Errors: `bad-genome`, naming the LIV, the gene, what it is and what it may be. */
export function validateGenome(genome: Genome): void {
  if (genome.length === 0 || genome.length > MOST_LIVS)
    throw badGenome(`genome: expected 1 to ${MOST_LIVS} LIVs; found ${genome.length}`);
  const [problem] = genomeProblems(genome);
  if (!problem) return;
  const { liv, gene, value, allowed, with: other } = problem;
  const name = classAt(genome[liv])?.name;
  const [first = 0, last = first] = [allowed[0], allowed.at(-1)];
  const wanted = first === last ? String(first) : `${first} to ${last}`;
  const of = gene > 0 && name !== undefined ? ` of ${name}` : '';
  const why =
    other === undefined
      ? ''
      : `, as at LIV ${other + 1}: both are ${name} in ${geneNames[gene - 1]} ${genome[liv]?.[gene - 1]}`;
  throw badGenome(
    `genome: gene ${gene + 1} of LIV ${liv + 1} (${geneNames[gene]}${of}) is ${value}; expected ${wanted}${why}`,
  );
}

/**
 * The nearest genome that can be built: each number to the nearest allowed, and of LIVs that share by different strategies
 * all to the one that most of them have, of equals the first's. A valid genome stays as it is.
 * Errors: `bad-genome` for none or too many LIVs, which nothing is near to.
 */
export function repairGenome(genome: readonly (readonly number[])[]): Genome {
  const clamp = (value: number | undefined, most: number) =>
    Math.min(most, Math.max(1, Math.round(value === undefined || Number.isNaN(value) ? 1 : value)));
  const near = genome.map((given): LivGenes => {
    const id = clamp(given[0], livClasses.length);
    const strategy = (kind: 'featurizer' | 'features', value: number | undefined) => {
      const one = livClasses[id - 1];
      return clamp(value, one ? strategyCount(one, kind) : 1);
    };
    const [groupA, groupB] = [clamp(given[1], genome.length), clamp(given[3], genome.length)];
    return [id, groupA, strategy('featurizer', given[2]), groupB, strategy('features', given[4])];
  });
  const fixed = near.map((liv): LivGenes => {
    const common = sharingGenes.map(({ group, strategy }) => {
      const votes = near
        .filter((other) => other[0] === liv[0] && other[group] === liv[group])
        .map((one) => one[strategy]);
      const count = (value: number) => votes.filter((vote) => vote === value).length;
      return votes.reduce((best, vote) => (count(vote) > count(best) ? vote : best), votes[0] ?? 1);
    });
    return [liv[0], liv[1], common[0] ?? 1, liv[3], common[1] ?? 1];
  });
  validateGenome(fixed);
  return fixed;
}

/**
 * A valid genome of `livs` LIVs: the same for the same seed, everywhere. Half of the LIVs are of a class that was there before
 * and groups are few, so that sharing, which only LIVs of one class can, is as common as a search would make it.
 */
export function randomGenome(seed: number, livs: number): Genome {
  const random = new Random(seed);
  const upTo = (most: number) => 1 + Math.floor(random.uniform() * most);
  const groups = Math.ceil(livs / 4);
  const made: LivGenes[] = [];
  for (let index = 0; index < livs; index++) {
    const before = random.uniform() < 0.5 ? made[upTo(index) - 1] : undefined;
    const id = before?.[0] ?? upTo(livClasses.length);
    const one = livClasses[id - 1];
    const strategy = (kind: 'featurizer' | 'features') => upTo(one ? strategyCount(one, kind) : 1);
    made.push([id, upTo(groups), strategy('featurizer'), upTo(groups), strategy('features')]);
  }
  return repairGenome(made);
}
