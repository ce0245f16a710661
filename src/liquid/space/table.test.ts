// The table of docs/design-space.md says what the code derives.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ROOT } from '../../../test/root.ts';
import { countOf } from '../../tensor/index.ts';
import type { LivClass } from '../index.ts';
import { decodeFlops, livClasses, modelFromGenome, operatorGenome } from '../index.ts';

/** Of STAR's models of 125M parameters. */
const hiddenSize = 768;

/** Name, genome, parts, and what one of them has and takes. */
function rowOf({ id, name, parts }: LivClass): string {
  const model = modelFromGenome([[id, 1, 1, 1, 1]], { vocabSize: 1, hiddenSize });
  const bare = 2 * hiddenSize;
  const own = Object.entries(model.parameters).filter(([key]) => key.includes('.liv.'));
  const parameters = own.reduce((sum, [, { shape }]) => sum + countOf(shape), 0);
  const count = (kind: string) =>
    Object.values(model.states).reduce((sum, state) => sum + (state.kind === kind ? countOf(state.shape) : 0), 0);
  const [rows, fixed] = [count('rows'), count('fixed')];
  const state =
    [rows > 0 ? `${rows} a token` : '', fixed > 0 ? String(fixed) : ''].filter(Boolean).join(' + ') || 'none';
  const mega = (length: number) => ((decodeFlops(model, length) - bare) / 1e6).toFixed(1);
  const { tokenMixing, nonlinearity = 'none', channelMixing, featurizer } = parts;
  const cells = [
    id,
    name,
    operatorGenome(parts),
    tokenMixing,
    nonlinearity,
    channelMixing,
    featurizer,
    `${(parameters / 1e6).toFixed(2)}M`,
    state,
    `${mega(1)} / ${mega(4096)}`,
  ];
  return `| ${cells.join(' | ')} |`;
}

it('has a row for each class, as it is', () => {
  const page = readFileSync(join(ROOT, 'docs/design-space.md'), 'utf8');
  const rows = page.split('\n').filter((line) => /^\| \d+ \| (SA|Rec|GConv|GMemless)/.test(line));
  expect(rows.map((row) => row.replaceAll(/ +/g, ' '))).toEqual(livClasses.map(rowOf));
});
