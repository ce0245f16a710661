// A model's layers in order, what they are made of and what they share: figure 3 of the announcement.
import { operatorsOf } from '../layer.ts';
import type { Model } from '../model.ts';
import { nameOf } from '../operator.ts';
import { operatorNames } from './operators.ts';
import type { SvgElement } from './svg.ts';
import { colourOf, element, svgPage, words } from './svg.ts';

/** Depths with one set of weights, each group of two or more; and [whose features, who takes them]. */
function sharingOf({ links }: Model) {
  const groups = new Map<string, Set<number>>();
  const taken = new Map<string, readonly [number, number]>();
  for (const { kind, group, depth, leader } of links) {
    if (kind === 'features') taken.set(`${leader} ${depth}`, [leader, depth]);
    // The operators of a layer in a depth group have labels of their own behind its name.
    else {
      const name = group.replace(/\/\d+\.\d+$/, '');
      groups.set(name, (groups.get(name) ?? new Set()).add(leader).add(depth));
    }
  }
  return { groups: [...groups.values()].map((group) => [...group]), links: [...taken.values()] };
}

const margin = { left: 92, right: 24, top: 46, bottom: 18 };
const box = { height: 30, gap: 4 };
const lane = 13;
const legend = { pitch: 20, width: 190 };

/** A lane for each span, the first where it touches none that came before. */
function lanesOf(spans: readonly (readonly [number, number])[]): number[] {
  const ends: number[] = [];
  return spans.map(([from, to]) => {
    const free = ends.findIndex((end) => end < from);
    const chosen = free < 0 ? ends.length : free;
    ends[chosen] = to;
    return chosen;
  });
}

/** Layers from left to right; above them whose features a layer takes, below them which share one set of weights. */
export function layerStack(name: string, model: Model): string {
  const { groups, links } = sharingOf(model);
  const stacks = model.layers.map((layer) => operatorsOf(layer));
  const rows = Math.max(1, ...stacks.map((operators) => operators.length));
  const { layers } = model;
  const names = operatorNames(model);
  const pitch = Math.max(13, Math.min(28, 900 / Math.max(1, layers.length)));
  const x = (depth: number) => margin.left + depth * pitch;
  const middle = (depth: number) => x(depth) + (pitch - 3) / 2;
  const rise = links.length > 0 ? 20 + Math.min(46, 5 * Math.max(...links.map(([from, to]) => to - from))) : 6;
  const top = margin.top + rise;
  const lanes = lanesOf(groups.map((group) => [Math.min(...group), Math.max(...group)]));
  const floor = top + rows * (box.height + box.gap) - box.gap;
  const under = floor + 24 + (groups.length > 0 ? 8 + lane * (Math.max(...lanes) + 1) : 0);
  const perRow = Math.max(1, Math.floor(Math.max(560, layers.length * pitch) / legend.width));
  const notes = names.map((operator, index) => ({
    colour: colourOf(index),
    text: `${operator} x ${countOf(model, operator)}`,
  }));
  const lines = Math.ceil(notes.length / perRow) + (groups.length > 0 ? 1 : 0) + (links.length > 0 ? 1 : 0);
  const width = margin.left + Math.max(560, layers.length * pitch) + margin.right;

  const children: SvgElement[] = [
    words(name, 16, 24, { class: 'ink strong' }),
    ...(rows === 2 ? ['tokens', 'channels'] : []).map((text, row) =>
      words(text, margin.left - 12, top + box.height * (row + 0.5) + box.gap * row + 4, {
        anchor: 'end',
        class: 'faint',
      }),
    ),
    words('layer', margin.left - 12, floor + 13, { anchor: 'end', class: 'faint small' }),
  ];
  stacks.forEach((operators, depth) => {
    const draw = (operator: string, y: number) =>
      element('rect', {
        x: x(depth),
        y,
        width: pitch - 3,
        height: box.height,
        rx: 3,
        fill: colourOf(names.indexOf(operator)),
      });
    children.push(...operators.map((operator, row) => draw(nameOf(operator), top + row * (box.height + box.gap))));
    const each = pitch < 20 ? 4 : 1;
    if (depth % each === 0)
      children.push(words(String(depth), middle(depth), floor + 13, { anchor: 'middle', class: 'faint small' }));
  });
  for (const [from, to] of links) {
    const height = 12 + Math.min(46, 5 * (to - from));
    children.push(
      element('path', {
        class: 'line',
        'stroke-width': 1.5,
        d: `M${middle(from)} ${top - 2}C${middle(from)} ${top - height} ${middle(to)} ${top - height} ${middle(to)} ${top - 2}`,
      }),
      element('path', { class: 'faint', d: `M${middle(to)} ${top - 1}l-3 -6h6z` }),
    );
  }
  groups.forEach((group, index) => {
    const y = floor + 24 + lane * (lanes[index] ?? 0);
    const ends = [Math.min(...group), Math.max(...group)].map(middle);
    children.push(element('path', { class: 'line', 'stroke-width': 1.5, d: `M${ends[0]} ${y}H${ends[1]}` }));
    for (const depth of group) children.push(element('circle', { class: 'faint', cx: middle(depth), cy: y, r: 3 }));
  });
  let y = under + 14;
  notes.forEach(({ colour, text }, index) => {
    const left = margin.left + (index % perRow) * legend.width;
    if (index > 0 && index % perRow === 0) y += legend.pitch;
    children.push(element('rect', { x: left, y: y - 10, width: 12, height: 12, rx: 3, fill: colour }));
    children.push(words(text, left + 18, y));
  });
  if (groups.length > 0) {
    y += legend.pitch;
    children.push(element('path', { class: 'line', 'stroke-width': 1.5, d: `M${margin.left} ${y - 4}h14` }));
    children.push(element('circle', { class: 'faint', cx: margin.left, cy: y - 4, r: 3 }));
    children.push(element('circle', { class: 'faint', cx: margin.left + 14, cy: y - 4, r: 3 }));
    children.push(words('depth group: one set of weights', margin.left + 24, y));
  }
  if (links.length > 0) {
    y += legend.pitch;
    children.push(element('path', { class: 'line', 'stroke-width': 1.5, d: `M${margin.left} ${y}c0 -14 14 -14 14 0` }));
    children.push(
      words('featurizer interconnection: the later layer takes the earlier one\u2019s features', margin.left + 24, y),
    );
  }
  return svgPage({
    width,
    height: under + 14 + lines * legend.pitch + margin.bottom - 14,
    title: `Layers of ${name}`,
    children,
  });
}

function countOf({ layers }: Model, operator: string): number {
  return layers.flatMap(operatorsOf).filter((one) => nameOf(one) === operator).length;
}
