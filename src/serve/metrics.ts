// Counters in Prometheus' text format. Labels come from fixed sets: names of models, patterns of paths, statuses.
import type { LogEntry } from './record.ts';

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

interface Histogram {
  readonly buckets: number[];
  sum: number;
  count: number;
}

type Labels = Readonly<Record<string, string | number>>;

export class Metrics {
  readonly #counters = new Map<string, Map<string, number>>();
  readonly #histograms = new Map<string, Map<string, Histogram>>();

  /** Counts a finished request. */
  observe(entry: LogEntry): void {
    const { route, status, model = '' } = entry;
    this.#add('lfm_requests_total', { route, status }, 1);
    this.#time('lfm_request_seconds', { route }, entry.ms);
    if (entry.firstTokenMs !== undefined) this.#time('lfm_time_to_first_token_seconds', { model }, entry.firstTokenMs);
    this.#add('lfm_prompt_tokens_total', { model }, entry.promptTokens ?? 0);
    this.#add('lfm_cached_prompt_tokens_total', { model }, entry.cachedTokens ?? 0);
    this.#add('lfm_completion_tokens_total', { model }, entry.completionTokens ?? 0);
    if (entry.finish === 'cancelled') this.#add('lfm_requests_cancelled_total', { model }, 1);
  }

  /** The text, with what is true at this moment beside it. */
  render(gauges: Readonly<Record<string, readonly (readonly [Labels, number])[]>>): string {
    const lines: string[] = [];
    for (const [name, values] of Object.entries(gauges)) {
      lines.push(`# TYPE ${name} gauge`, ...values.map(([labels, value]) => `${name}${written(labels)} ${value}`));
    }
    for (const [name, values] of this.#counters)
      lines.push(`# TYPE ${name} counter`, ...[...values].map(([labels, value]) => `${name}${labels} ${value}`));
    for (const [name, values] of this.#histograms) {
      lines.push(`# TYPE ${name} histogram`);
      for (const [labels, { buckets, sum, count }] of values) {
        const inner = labels === '' ? '' : `${labels.slice(1, -1)},`;
        for (const [i, bound] of [...SECONDS, '+Inf'].entries())
          lines.push(`${name}_bucket{${inner}le="${bound}"} ${buckets[i] ?? 0}`);
        lines.push(`${name}_sum${labels} ${sum}`, `${name}_count${labels} ${count}`);
      }
    }
    return `${lines.join('\n')}\n`;
  }

  #add(name: string, labels: Labels, value: number): void {
    if (value === 0) return;
    const values = this.#counters.get(name) ?? new Map<string, number>();
    this.#counters.set(name, values);
    const key = written(labels);
    values.set(key, (values.get(key) ?? 0) + value);
  }

  #time(name: string, labels: Labels, ms: number): void {
    const values = this.#histograms.get(name) ?? new Map<string, Histogram>();
    this.#histograms.set(name, values);
    const key = written(labels);
    const found = values.get(key) ?? { buckets: Array.from({ length: SECONDS.length + 1 }, () => 0), sum: 0, count: 0 };
    values.set(key, found);
    for (const [i, bound] of [...SECONDS, Infinity].entries())
      if (ms / 1000 <= bound) found.buckets[i] = (found.buckets[i] ?? 0) + 1;
    found.sum += ms / 1000;
    found.count++;
  }
}

function written(labels: Labels): string {
  const pairs = Object.entries(labels).map(
    ([key, value]) => `${key}="${String(value).replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`))}"`,
  );
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}
