// The seventeen classes of STAR (arXiv 2411.17800) as values: nine operators by their genomes, eight of them also as differences.
import { operatorGenome, parseOperatorGenome } from './operator-genome.ts';
import type { LivOptions } from './parts.ts';

export interface LivClass {
  /** STAR's number, the first gene of a backbone genome's tuple. */
  readonly id: number;
  readonly name: string;
  readonly parts: LivOptions;
}

/** Name and operator genome: featurizer, token mixing, sparsity, nonlinearity, channel mixing. */
const bases = [
  ['SA-1', '12123'],
  ['SA-2', '22123'],
  ['SA-3', '32123'],
  ['SA-4', '42123'],
  ['Rec-1', '54111'],
  ['Rec-2', '64111'],
  ['GConv-1', '73111'],
  ['GConv-2', '83111'],
  ['GMemless', '91142'],
] as const;

const base = bases.map(([name, genome], index) => ({ id: index + 1, name, parts: parseOperatorGenome(genome) }));

/** By id, 1 to 17. A difference is of two operators of one base class; the memoryless one has none. */
export const livClasses: readonly LivClass[] = [
  ...base,
  ...base
    .filter(({ parts }) => parts.tokenMixing !== 'diagonal')
    .map(({ id, name, parts }) => ({
      id: id + base.length,
      name: `${name}-Diff`,
      parts: { ...parts, differential: true },
    })),
];

/** The class that has these parts, whatever its sizes. */
export function classOf(options: LivOptions): LivClass | undefined {
  const genome = operatorGenome(options);
  return livClasses.find(
    ({ parts }) =>
      genome !== undefined && operatorGenome(parts) === genome && !!parts.differential === !!options.differential,
  );
}

/** The class's name, else the operator genome, else the parts. */
export function labelOf(options: LivOptions): string {
  const known = classOf(options)?.name;
  if (known !== undefined) return known;
  const { tokenMixing, channelMixing, differential = false } = options;
  return `${operatorGenome(options) ?? `${tokenMixing}, ${channelMixing}`}${differential ? '-Diff' : ''}`;
}
