// What texts may look like, as regular expressions over bytes with named rules: what schemas, patterns and grammars become first.

export type Expression =
  /** One byte between two, both included. */
  | { readonly kind: 'range'; readonly low: number; readonly high: number }
  | { readonly kind: 'sequence'; readonly parts: readonly Expression[] }
  | { readonly kind: 'choice'; readonly options: readonly Expression[] }
  | { readonly kind: 'repeat'; readonly part: Expression; readonly least: number; readonly most: number }
  | { readonly kind: 'rule'; readonly name: string }
  /** Ways from place 0 to the last place. An edge without an expression takes no text. */
  | { readonly kind: 'graph'; readonly places: number; readonly edges: readonly Edge[] };

export type Edge = readonly [from: number, to: number, by?: Expression];

/** Expressions by name; `root` is the whole text. */
export type Rules = ReadonlyMap<string, Expression>;

export const ROOT = 'root';

/** Code points, as pairs of the first and the last. */
export type Ranges = readonly (readonly [number, number])[];

export const LAST_CODE_POINT = 0x10ffff;

export const sequence = (...parts: readonly Expression[]): Expression => ({ kind: 'sequence', parts });
export const choice = (...options: readonly Expression[]): Expression => ({ kind: 'choice', options });
export const repeat = (part: Expression, least: number, most = Infinity): Expression => ({
  kind: 'repeat',
  part,
  least,
  most,
});
export const optional = (part: Expression): Expression => repeat(part, 0, 1);
export const rule = (name: string): Expression => ({ kind: 'rule', name });

const encoder = new TextEncoder();

/** The text itself. */
export function literal(text: string): Expression {
  return sequence(...Array.from(encoder.encode(text), (byte) => byteRange(byte, byte)));
}

function byteRange(low: number, high: number): Expression {
  return { kind: 'range', low, high };
}

/** One character of a set, in UTF-8. Surrogates have no form there and are left out. */
export function characters(set: Ranges): Expression {
  const options: Expression[] = [];
  for (const [low, high] of intersect(set, [
    [0, 0xd7ff],
    [0xe000, LAST_CODE_POINT],
  ]))
    addUtf8(low, high, options);
  return options.length === 1 && options[0] ? options[0] : choice(...options);
}

/** Cuts a range until the bytes of its characters vary independently of each other. */
function addUtf8(low: number, high: number, out: Expression[]): void {
  for (const last of [0x7f, 0x7ff, 0xffff]) {
    if (low <= last && last < high) {
      addUtf8(low, last, out);
      addUtf8(last + 1, high, out);
      return;
    }
  }
  const [lows, highs] = [encoder.encode(String.fromCodePoint(low)), encoder.encode(String.fromCodePoint(high))];
  for (let i = 1; i < lows.length; i++) {
    const below = 2 ** (6 * i);
    if (Math.floor(low / below) === Math.floor(high / below)) continue;
    const cut =
      low % below === 0 ? (high % below === below - 1 ? 0 : high - (high % below)) : low - (low % below) + below;
    if (cut === 0) continue;
    addUtf8(low, cut - 1, out);
    addUtf8(cut, high, out);
    return;
  }
  const bytes = Array.from(lows, (byte, i) => byteRange(byte, highs[i] ?? byte));
  out.push(bytes.length === 1 && bytes[0] ? bytes[0] : sequence(...bytes));
}

/** The same set, sorted and without overlaps. */
export function union(...sets: readonly Ranges[]): Ranges {
  const sorted = sets.flat().toSorted(([a], [b]) => a - b);
  const out: [number, number][] = [];
  for (const [low, high] of sorted) {
    const last = out.at(-1);
    if (last && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else out.push([low, high]);
  }
  return out;
}

export function complement(set: Ranges): Ranges {
  const out: [number, number][] = [];
  let next = 0;
  for (const [low, high] of union(set)) {
    if (low > next) out.push([next, low - 1]);
    next = high + 1;
  }
  if (next <= LAST_CODE_POINT) out.push([next, LAST_CODE_POINT]);
  return out;
}

export function intersect(a: Ranges, b: Ranges): Ranges {
  return union(
    a.flatMap(([low, high]) =>
      b
        .map(([from, to]): [number, number] => [Math.max(low, from), Math.min(high, to)])
        .filter(([first, last]) => first <= last),
    ),
  );
}
