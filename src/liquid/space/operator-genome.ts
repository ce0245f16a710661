// Operator and featurizer genomes of STAR (arXiv 2411.17800): an operator's parts as numbers, text in and out.
import { LfmError } from '../../tensor/error.ts';
import { featurizerOf, featurizers } from './featurizers.ts';
import type { FeatureGroup, Featurizer, LivOptions, Role } from './parts.ts';
import { channelMixingCodes, nonlinearityCodes, roles, sparsityCodes, tokenMixingCodes } from './parts.ts';

/** Tokens that a windowed operator genome sees: the genome has no place for the number. */
const WINDOW = 1024;

const genes = [
  { what: 'featurizer', values: Object.keys(featurizers) },
  { what: 'token mixing', values: tokenMixingCodes },
  { what: 'sparsity', values: sparsityCodes },
  { what: 'nonlinearity', values: nonlinearityCodes },
  { what: 'channel mixing', values: channelMixingCodes },
] as const;

/** The parts that an operator genome such as 12123 names. Errors: `bad-genome`, naming the gene. */
export function parseOperatorGenome(text: string): LivOptions {
  if (!/^\d{5}$/.test(text))
    throw badGenome(
      `operator genome: expected five digits (${genes.map(({ what }) => what).join(', ')}); found ${JSON.stringify(text)}`,
    );
  const pick = <T>(values: readonly T[], at: number): T => {
    const found = values[Number(text[at]) - 1];
    if (found !== undefined) return found;
    throw badGenome(
      `operator genome ${text}: gene ${at + 1} (${genes[at]?.what}) is ${text[at]}; expected 1 to ${values.length}`,
    );
  };
  const featurizer = pick(genes[0].values, 0);
  const tokenMixing = pick(tokenMixingCodes, 1);
  const sparsity = pick(sparsityCodes, 2);
  const nonlinearity = pick(nonlinearityCodes, 3);
  const channelMixing = pick(channelMixingCodes, 4);
  return {
    featurizer,
    tokenMixing,
    channelMixing,
    ...(nonlinearity !== 'none' && { nonlinearity }),
    ...(sparsity === 'window' && { window: WINDOW }),
  };
}

/** The genome of an operator's parts, sizes aside; undefined where its featurizer is none of the nine. */
export function operatorGenome(options: LivOptions): string | undefined {
  const { tokenMixing, channelMixing, nonlinearity = 'none', window } = options;
  const own = printFeaturizerGenome(featurizerOf(options));
  const numbered = Object.values(featurizers).findIndex((one) => printFeaturizerGenome(one) === own);
  if (numbered < 0) return undefined;
  const codes = [
    numbered,
    tokenMixingCodes.indexOf(tokenMixing),
    sparsityCodes.indexOf(window === undefined ? 'none' : 'window'),
    nonlinearityCodes.indexOf(nonlinearity),
    channelMixingCodes.indexOf(channelMixing),
  ];
  return codes.map((code) => code + 1).join('');
}

/**
 * A group's letter and four numbers (token mixing, channel mixing, expansion, repeat), groups between dashes:
 * c1211-b1214-v1214. Numbers above 9 have dots between them: c1.2.16.1.
 */
export function printFeaturizerGenome(featurizer: Featurizer): string {
  return roles
    .flatMap((role) => {
      const group = featurizer[role];
      if (!group) return [];
      const { tokenMixing, channelMixing, expansion, repeat } = group;
      const codes = [tokenMixingCodes.indexOf(tokenMixing) + 1, channelMixingCodes.indexOf(channelMixing) + 1];
      return [`${role[0]}${printTuple([...codes, expansion, repeat])}`];
    })
    .join('-');
}

/** Errors: `bad-genome`, naming the group and the gene. */
export function parseFeaturizerGenome(text: string): Featurizer {
  const found: Partial<Record<Role, FeatureGroup>> = {};
  for (const one of text.split('-')) {
    const role = roles.find((name) => name[0] === one[0]);
    if (!role || found[role])
      throw badGenome(
        `featurizer genome: expected groups that begin with one of ${roles.map((name) => name[0]).join(', ')}, each once; found ${JSON.stringify(one)}`,
      );
    const what = `featurizer genome, group ${role}`;
    const [token, channel, expansion = 0, repeat = 0] = parseTuple(one.slice(1), 4, what);
    const pick = <T>(values: readonly T[], gene: number | undefined, name: string): T => {
      const value = values[(gene ?? 0) - 1];
      if (value !== undefined) return value;
      throw badGenome(`${what}: its ${name} is ${gene}; expected 1 to ${values.length}`);
    };
    if (expansion < 1 || repeat < 1)
      throw badGenome(`${what}: expected an expansion and a repeat from 1; found ${expansion} and ${repeat}`);
    found[role] = {
      tokenMixing: pick(tokenMixingCodes, token, 'token mixing'),
      channelMixing: pick(channelMixingCodes, channel, 'channel mixing'),
      expansion,
      repeat,
    };
  }
  return found;
}

/** Digits next to each other where all are single, else with dots between. */
export function printTuple(values: readonly number[]): string {
  return values.join(values.every((value) => value >= 0 && value <= 9) ? '' : '.');
}

/** Errors: `bad-genome`. */
export function parseTuple(text: string, length: number, what: string): number[] {
  const parts = text.includes('.') ? text.split('.') : [...text];
  if (parts.length === length && parts.every((part) => /^\d{1,6}$/.test(part))) return parts.map(Number);
  throw badGenome(
    `${what}: expected ${length} numbers, as ${'21211'.slice(0, length)}, with dots between them where one is above 9; found ${JSON.stringify(text)}`,
  );
}

export function badGenome(message: string): LfmError {
  return new LfmError('bad-genome', `${message}.`);
}
