// Lines over two axes, each named at its end: what the pictures of memory, of losses and of speeds have in common.
import type { SvgElement } from './svg.ts';
import { colourOf, element, svgPage, words } from './svg.ts';

export interface ChartLine {
  readonly name: string;
  /** [x, y], from left to right. */
  readonly points: readonly (readonly [number, number])[];
  /** From this x on the line is dotted and without marks. */
  readonly dottedAfter?: number;
}

export interface ChartOptions {
  readonly title: string;
  readonly x: {
    readonly name: string;
    readonly scale: 'linear' | 'logarithmic';
    readonly format: (x: number) => string;
  };
  /** `from`: the least value shown; absent, the least there is, rounded down. */
  readonly y: { readonly name: string; readonly from?: number };
  /** A mark at each point. */
  readonly marks?: boolean;
  /** Said under the picture. */
  readonly note?: string;
  /** For a narrow window, and short names. */
  readonly isNarrow?: boolean;
}

const wide = { width: 760, height: 440, left: 58, right: 220, top: 44, bottom: 52 };
const narrow = { ...wide, width: 480, height: 320, right: 90 };

/** A picture of its own. Lines without points are left out. */
export function lineChart(
  given: readonly ChartLine[],
  { title, x, y, marks = false, note, isNarrow = false }: ChartOptions,
): string {
  const frame = isNarrow ? narrow : wide;
  const [right, floor] = [frame.width - frame.right, frame.height - frame.bottom];
  const lines = given.filter(({ points }) => points.length > 0);
  const all = lines.flatMap(({ points }) => points);
  const xs = [...new Set(all.map(([at]) => at))].toSorted((a, b) => a - b);
  const ys = all.map(([, at]) => at);
  const [least, most] = [y.from ?? Math.min(...ys), Math.max(...ys)];
  const step = niceStep(most - least);
  const bottom = step * Math.floor(least / step + 1e-9);
  const top = Math.max(bottom + step, step * Math.ceil(most / step - 1e-9));
  const across = x.scale === 'logarithmic' ? Math.log2 : (at: number) => at;
  const [first, last] = [across(xs[0] ?? 0), across(xs.at(-1) ?? 1)];
  const place = {
    x: (at: number) => frame.left + ((right - frame.left) * (across(at) - first)) / (last - first || 1),
    y: (at: number) => floor - ((floor - frame.top) * (at - bottom)) / (top - bottom),
  };
  const rules = Array.from({ length: Math.round((top - bottom) / step) + 1 }, (_, index) => {
    const at = bottom + index * step;
    return [
      element('path', { class: 'rule', d: `M${frame.left} ${place.y(at)}H${right}` }),
      words(String(Number(at.toPrecision(3))), frame.left - 8, place.y(at) + 4, { anchor: 'end', class: 'faint' }),
    ];
  }).flat();
  const ticks = (x.scale === 'logarithmic' ? xs : linearTicks(first, last)).map((at) =>
    words(x.format(at), place.x(at), floor + 18, { anchor: 'middle', class: 'faint' }),
  );
  const ends = spread(
    lines.map(({ points }) => place.y(points.at(-1)?.[1] ?? 0)),
    floor,
  );
  const small = { anchor: 'end', class: 'faint small' } as const;
  return svgPage({
    width: frame.width,
    height: frame.height,
    title: `${title}: ${lines.map(({ name }) => name).join(', ')}`,
    children: [
      words(title, frame.left, 22, { class: 'ink strong' }),
      words(y.name, frame.left - 8, frame.top - 10, { anchor: 'end', class: 'faint' }),
      words(x.name, (frame.left + right) / 2, frame.height - 12, { anchor: 'middle', class: 'faint' }),
      ...(note === undefined ? [] : [words(note, frame.width - 10, frame.height - 12, small)]),
      ...rules,
      ...ticks,
      ...lines.flatMap((line, index) => draw(line, colourOf(index), place, { x: right, y: ends[index] ?? 0 }, marks)),
    ],
  });
}

function draw(
  { name, points, dottedAfter = Infinity }: ChartLine,
  colour: string,
  place: { readonly x: (at: number) => number; readonly y: (at: number) => number },
  label: { readonly x: number; readonly y: number },
  marks: boolean,
): SvgElement[] {
  const whole = points.filter(([at]) => at <= dottedAfter);
  const dotted = points.slice(Math.max(0, whole.length - 1));
  const path = (run: ChartLine['points'], more: object) =>
    run.length < 2
      ? []
      : [
          element('path', {
            d: `M${run.map(([x, y]) => `${place.x(x).toFixed(1)} ${place.y(y).toFixed(1)}`).join('L')}`,
            fill: 'none',
            stroke: colour,
            'stroke-width': marks ? 2 : 1.5,
            ...more,
          }),
        ];
  const [endX, endY] = points.at(-1) ?? [0, 0];
  return [
    ...path(whole, {}),
    ...path(dotted, { 'stroke-dasharray': '2 4' }),
    ...(marks ? whole : []).map(([x, y]) =>
      element('circle', { cx: place.x(x), cy: place.y(y), r: 2.5, fill: colour }),
    ),
    element('path', {
      d: `M${place.x(endX) + 4} ${place.y(endY)}L${label.x + 16} ${label.y}`,
      stroke: colour,
      'stroke-width': 0.75,
      fill: 'none',
    }),
    words(name, label.x + 20, label.y + 4, { fill: colour, class: 'strong' }),
  ];
}

/** 1, 2 or 5 times a power of ten, of which about five make `span`. */
function niceStep(span: number): number {
  const raw = Math.max(span, 1e-6) / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= raw) ?? 10);
}

function linearTicks(first: number, last: number): number[] {
  const step = niceStep(last - first);
  const from = Math.ceil(first / step - 1e-9);
  return Array.from({ length: Math.floor(last / step + 1e-9) - from + 1 }, (_, index) => (from + index) * step);
}

/** Heights of labels, as near to those wanted as a line's distance allows, none below the floor. */
function spread(wanted: readonly number[], floor: number): number[] {
  const gap = 15;
  const order = wanted.map((_, index) => index).toSorted((a, b) => (wanted[b] ?? 0) - (wanted[a] ?? 0));
  const placed: number[] = [];
  let below = floor + gap;
  for (const index of order) {
    below = Math.min(wanted[index] ?? 0, below - gap);
    placed[index] = below;
  }
  return placed;
}
