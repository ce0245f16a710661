// Commands as a user types them, for messages that say what to type next.

/** How this program was called. */
export function program(): string {
  return process.env['npm_command'] === 'exec' ? 'npx lfm' : 'lfm';
}

/** A word as a shell reads it. */
export function quote(word: string): string {
  return /^[\w./:@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** `--NAME VALUE` of those that are given, a word each. */
export function optionWords(options: Readonly<Record<string, string | number | undefined>>): string[] {
  return Object.entries(options).flatMap(([option, value]) =>
    value === undefined ? [] : [`--${option}`, quote(String(value))],
  );
}
