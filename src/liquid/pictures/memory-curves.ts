// The memory that models need against the length of their input and output: figure 2 of the announcement.
import type { SvgElement } from './svg.ts';
import { colourOf, element, svgPage, words } from './svg.ts';

export interface MemoryCurve {
  readonly name: string;
  /** Bytes in all by length in tokens, shortest first. */
  readonly points: readonly { readonly length: number; readonly bytes: number }[];
  /** Tokens that the model was made for: further on its curve is dashed. */
  readonly contextLength: number;
}

const frame = { width: 760, height: 440, left: 58, right: 220, top: 44, bottom: 52 };
const right = frame.width - frame.right;
const floor = frame.height - frame.bottom;

/** One curve a model over a logarithmic axis of lengths, named at its end. */
export function memoryCurves(
  curves: readonly MemoryCurve[],
  title = 'Memory for one sequence, prompt and answer',
): string {
  const all = curves.flatMap(({ points }) => points);
  const lengths = [...new Set(all.map(({ length }) => length))].toSorted((a, b) => a - b);
  const [first = 1, last = 2] = [lengths[0], lengths.at(-1)];
  const step = niceStep(Math.max(...all.map(({ bytes }) => bytes)) / 2 ** 30);
  const most = step * Math.ceil(Math.max(...all.map(({ bytes }) => bytes)) / 2 ** 30 / step) || step;
  const span = Math.max(1, Math.log2(last) - Math.log2(first));
  const x = (length: number) => frame.left + ((right - frame.left) * (Math.log2(length) - Math.log2(first))) / span;
  const y = (bytes: number) => floor - ((floor - frame.top) * bytes) / 2 ** 30 / most;

  const rules = Array.from({ length: Math.round(most / step) + 1 }, (_, index) => {
    const gibibytes = index * step;
    const at = y(gibibytes * 2 ** 30);
    return [
      element('path', { class: 'rule', d: `M${frame.left} ${at}H${right}` }),
      words(String(Number(gibibytes.toPrecision(3))), frame.left - 8, at + 4, { anchor: 'end', class: 'faint' }),
    ];
  }).flat();
  const ticks = lengths.map((length) =>
    words(formatLength(length), x(length), floor + 18, { anchor: 'middle', class: 'faint' }),
  );
  const ends = spread(curves.map(({ points }) => y(points.at(-1)?.bytes ?? 0)));
  return svgPage({
    width: frame.width,
    height: frame.height,
    title: `${title}: ${curves.map(({ name }) => name).join(', ')}`,
    children: [
      words(title, frame.left, 22, { class: 'ink strong' }),
      words('GiB', frame.left - 8, frame.top - 10, { anchor: 'end', class: 'faint' }),
      words('tokens, prompt and answer together', (frame.left + right) / 2, frame.height - 12, {
        anchor: 'middle',
        class: 'faint',
      }),
      ...(curves.some(({ points, contextLength }) => (points.at(-1)?.length ?? 0) > contextLength)
        ? [
            words('dotted: longer than the model was made for', frame.width - 10, frame.height - 12, {
              anchor: 'end',
              class: 'faint small',
            }),
          ]
        : []),
      ...rules,
      ...ticks,
      ...curves.flatMap((curve, index) => drawCurve(curve, colourOf(index), x, y, ends[index] ?? 0)),
    ],
  });
}

function drawCurve(
  { name, points, contextLength }: MemoryCurve,
  colour: string,
  x: (length: number) => number,
  y: (bytes: number) => number,
  label: number,
): SvgElement[] {
  const within = points.filter(({ length }) => length <= contextLength);
  const beyond = points.slice(Math.max(0, within.length - 1));
  const path = (run: MemoryCurve['points'], dash: object) =>
    run.length < 2
      ? []
      : [
          element('path', {
            d: `M${run.map(({ length, bytes }) => `${x(length).toFixed(1)} ${y(bytes).toFixed(1)}`).join('L')}`,
            fill: 'none',
            stroke: colour,
            'stroke-width': 2,
            ...dash,
          }),
        ];
  const end = points.at(-1);
  const at = end ? { x: x(end.length), y: y(end.bytes) } : { x: right, y: label };
  return [
    ...path(within, {}),
    ...path(beyond, { 'stroke-dasharray': '2 4' }),
    ...within.map(({ length, bytes }) => element('circle', { cx: x(length), cy: y(bytes), r: 2.5, fill: colour })),
    element('path', {
      d: `M${at.x + 4} ${at.y}L${right + 16} ${label}`,
      stroke: colour,
      'stroke-width': 0.75,
      fill: 'none',
    }),
    words(name, right + 20, label + 4, { fill: colour, class: 'strong' }),
  ];
}

/** 1, 2 or 5 times a power of ten, of which about five reach `most`. */
function niceStep(most: number): number {
  const raw = Math.max(most, 1e-6) / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= raw) ?? 10);
}

/** Heights of labels, as near to those wanted as a line's distance allows, none below the floor. */
function spread(wanted: readonly number[]): number[] {
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

/** 4k, 128k; of other lengths (128,000 is not 125k) the number itself. */
export function formatLength(length: number): string {
  return length >= 1024 && length % Math.min(length, 4096) === 0 && length % 1024 === 0
    ? `${length / 1024}k`
    : String(length);
}
