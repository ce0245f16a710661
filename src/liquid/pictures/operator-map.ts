// The map of operators: token mixing by channel mixing, each with its featurizer. Figure 4 of the announcement.
import type { Classification } from '../classification.ts';
import { channelMixings, classifications, tokenPlaces } from '../classification.ts';
import { operatorsOf } from '../layer.ts';
import type { Model } from '../model.ts';
import { nameOf } from '../operator.ts';
import { partsOf } from '../space/named-points.ts';
import { printFeaturizerGenome } from '../space/operator-genome.ts';
import { operatorNames } from './operators.ts';
import type { SvgElement } from './svg.ts';
import { colourOf, element, svgPage, words } from './svg.ts';

const margin = { left: 168, top: 74, right: 16, bottom: 16 };
const cell = { width: 216, pad: 8 };
const chip = { height: 34, gap: 6 };

const columns: Readonly<Record<string, string>> = {
  diagonal: 'each channel by itself',
  grouped: 'within a head',
  dense: 'all with all',
};
const rows: Readonly<Record<string, string>> = {
  diagonal: 'a token alone',
  'scaled Toeplitz': 'by distance, gated',
  'semi-separable': 'through a state that decays',
  'low rank': 'by content, all pairs',
  nonlinear: 'a state that steers itself',
};

/** Operators that a model has made of parts, by what they are called. */
function madeOfParts(model: Model): Record<string, Classification> {
  const made = model.layers.flatMap(operatorsOf).filter(({ name }) => name === 'liv');
  return Object.fromEntries(
    made.flatMap((operator) => {
      const parts = partsOf(operator, model);
      if (!parts) return [];
      const { tokenMixing, channelMixing, featurizer } = parts;
      const featured = typeof featurizer === 'string' ? featurizer : printFeaturizerGenome(featurizer);
      return [[nameOf(operator), { tokenMixing, channelMixing, featurizer: featured }]];
    }),
  );
}

/** Every known operator in its place; with a model, those that it uses are filled, and what it made of parts stands with them. */
export function operatorMap(model?: Model): string {
  const used = new Set(model && operatorNames(model));
  const known = { ...classifications, ...(model && madeOfParts(model)) };
  const inCell = (token: string, channel: string) =>
    Object.entries(known).filter(
      ([, { tokenMixing, channelMixing }]) => tokenMixing === token && channelMixing === channel,
    );
  const heights = tokenPlaces.map((token) => {
    const most = Math.max(1, ...channelMixings.map((channel) => inCell(token, channel).length));
    return most * (chip.height + chip.gap) - chip.gap + 2 * cell.pad;
  });
  const tops = heights.map((_, row) => margin.top + heights.slice(0, row).reduce((sum, height) => sum + height + 6, 0));
  const width = margin.left + channelMixings.length * (cell.width + 6) + margin.right;
  const height = (tops.at(-1) ?? 0) + (heights.at(-1) ?? 0) + margin.bottom;

  const children: SvgElement[] = [
    words('Token mixing by channel mixing; below each name, what makes its features', margin.left, 22, {
      class: 'ink strong',
    }),
  ];
  channelMixings.forEach((channel, column) => {
    const x = margin.left + column * (cell.width + 6) + cell.width / 2;
    children.push(words(channel, x, margin.top - 22, { anchor: 'middle', class: 'ink strong' }));
    children.push(words(columns[channel] ?? '', x, margin.top - 8, { anchor: 'middle', class: 'faint small' }));
  });
  tokenPlaces.forEach((token, row) => {
    const [top = 0, tall = 0] = [tops[row], heights[row]];
    children.push(words(token, margin.left - 10, top + tall / 2, { anchor: 'end', class: 'ink strong' }));
    children.push(
      words(rows[token] ?? '', margin.left - 10, top + tall / 2 + 14, { anchor: 'end', class: 'faint small' }),
    );
    channelMixings.forEach((channel, column) => {
      const left = margin.left + column * (cell.width + 6);
      children.push(element('rect', { x: left, y: top, width: cell.width, height: tall, rx: 6, class: 'empty' }));
      inCell(token, channel).forEach(([name, { featurizer }], index) => {
        const y = top + cell.pad + index * (chip.height + chip.gap);
        children.push(
          ...drawChip(name, featurizer, left + cell.pad, y, colourOf(row), model === undefined || used.has(name)),
        );
      });
    });
  });
  return svgPage({ width, height, title: 'Operators by token mixing and channel mixing', children });
}

function drawChip(
  name: string,
  featurizer: string,
  x: number,
  y: number,
  colour: string,
  isFilled: boolean,
): SvgElement[] {
  const wide = cell.width - 2 * cell.pad;
  const paint = isFilled ? { fill: colour } : { fill: 'none', stroke: colour };
  return [
    element('rect', { x, y, width: wide, height: chip.height, rx: 5, ...paint }),
    words(name, x + 10, y + 15, { class: isFilled ? 'on' : 'ink strong' }),
    words(featurizer, x + 10, y + 28, isFilled ? { class: 'small', fill: '#ffffff' } : { class: 'faint small' }),
  ];
}
