// The memory that models need against the length of their input and output: figure 2 of the announcement.
import type { ChartOptions } from './line-chart.ts';
import { lineChart } from './line-chart.ts';

export interface MemoryCurve {
  readonly name: string;
  /** Bytes in all by length in tokens, shortest first. */
  readonly points: readonly { readonly length: number; readonly bytes: number }[];
  /** Tokens that the model was made for: further on its curve is dotted. */
  readonly contextLength: number;
}

/** One curve a model over a logarithmic axis of lengths, named at its end. */
export function memoryCurves(
  curves: readonly MemoryCurve[],
  {
    title = 'Memory for one sequence, prompt and answer',
    isNarrow = false,
  }: Partial<Pick<ChartOptions, 'title' | 'isNarrow'>> = {},
): string {
  const most = Math.max(...curves.flatMap(({ points }) => points.map(({ bytes }) => bytes)));
  const [unit, size] = unitFor(most);
  const beyond = curves.some(({ points, contextLength }) => (points.at(-1)?.length ?? 0) > contextLength);
  return lineChart(
    curves.map(({ name, points, contextLength }) => ({
      name,
      points: points.map(({ length, bytes }) => [length, bytes / size] as const),
      dottedAfter: contextLength,
    })),
    {
      title,
      x: { name: 'tokens, prompt and answer together', scale: 'logarithmic', format: formatLength },
      y: { name: unit, from: 0 },
      marks: true,
      isNarrow,
      ...(beyond && { note: 'dotted: longer than the model was made for' }),
    },
  );
}

/** The largest unit of which there is at least a half. */
function unitFor(bytes: number): readonly [string, number] {
  if (bytes >= 2 ** 29) return ['GiB', 2 ** 30];
  return bytes >= 2 ** 19 ? ['MiB', 2 ** 20] : ['KiB', 2 ** 10];
}

/** 4k, 128k; of other lengths (128,000 is not 125k) the number itself. */
export function formatLength(length: number): string {
  return length >= 1024 && length % Math.min(length, 4096) === 0 && length % 1024 === 0
    ? `${length / 1024}k`
    : String(length);
}
