// Numbers and tables for people.

/** 7.7M, 354M, 1.2B. */
export function formatCount(count: number): string {
  return scaled(count, 1000, ['', 'K', 'M', 'B', 'T', 'P', 'E'], '');
}

/** 512 B, 29.3 MiB. */
export function formatBytes(bytes: number): string {
  return scaled(bytes, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB'], ' ');
}

function scaled(value: number, base: number, units: readonly string[], gap: string): string {
  let at = 0;
  let rest = value;
  for (; rest >= base && at + 1 < units.length; at++) rest /= base;
  const digits = at === 0 || rest >= 100 ? 0 : 1;
  return `${rest.toFixed(digits)}${gap}${units[at] ?? ''}`.trimEnd();
}

/** 4.1 ms, 12.0 s: a time that was computed, however short. */
export function formatDuration(seconds: number): string {
  if (seconds >= 90) return formatSeconds(seconds);
  return seconds < 1 ? `${(seconds * 1000).toPrecision(3)} ms` : `${seconds.toFixed(1)} s`;
}

export function formatSeconds(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** Columns of one width, two spaces between them; the first is aligned left, the others right unless they are words. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  const isNumeric = head.map((_, column) => rows.every((row) => /^[\d.,]*( ?[a-zA-Z]+)?$/.test(row[column] ?? '')));
  const line = (row: readonly string[]) =>
    widths
      .map((width, column) =>
        isNumeric[column] && column > 0 ? (row[column] ?? '').padStart(width) : (row[column] ?? '').padEnd(width),
      )
      .join('  ');
  return all.map((row) => `${line(row).trimEnd()}\n`).join('');
}
