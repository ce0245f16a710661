// Mutations of JSON text that know its structure: keys twice, values of another kind, numbers and names at the edges.
import type { Random } from './random.ts';

/** JSON with what JSON.parse loses: an object is a list of pairs, so that a key may stand twice. `raw` is text as it is. */
type Node = string | number | boolean | null | Node[] | { pairs: [string, Node][] } | { raw: string };

function toNode(value: unknown): Node {
  if (Array.isArray(value)) return value.map(toNode);
  if (typeof value !== 'object' || value === null) return value as string | number | boolean | null;
  return { pairs: Object.entries(value).map(([key, each]) => [key, toNode(each)]) };
}

function toText(node: Node): string {
  if (Array.isArray(node)) return `[${node.map(toText).join(',')}]`;
  if (typeof node !== 'object' || node === null) return JSON.stringify(node);
  if ('raw' in node) return node.raw;
  return `{${node.pairs.map(([key, value]) => `${JSON.stringify(key)}:${toText(value)}`).join(',')}}`;
}

const hostile: readonly [Node, ...Node[]] = [
  null,
  true,
  false,
  0,
  -1,
  1,
  0.5,
  255,
  2 ** 16,
  2 ** 24,
  2 ** 31 - 1,
  2 ** 32,
  2 ** 53 - 1,
  2 ** 53,
  { raw: '18446744073709551615' },
  { raw: '1e308' },
  { raw: '-0' },
  { raw: '1e999' },
  { raw: '"\\ud800"' },
  { raw: `${'['.repeat(200)}${']'.repeat(200)}` },
  '',
  '__proto__',
  'constructor',
  '../x',
  '\0',
  'é🌊',
  'a'.repeat(5000),
  [],
  [[]],
  { pairs: [] },
  { pairs: [['__proto__', { pairs: [['dtype', 'F32']] }]] },
];
const names: readonly [string, ...string[]] = ['__proto__', 'constructor', 'toString', '', 'length', '\0'];

/** Where a value stands: how to read it, put another, and take it out. */
interface Place {
  readonly value: Node;
  readonly put: (value: Node) => void;
  readonly list: Node[] | [string, Node][];
  readonly index: number;
}

/** A place anywhere below `root`: of each list the first and last few, since tokenizers have thousands alike. */
function places(root: Node): Place[] {
  const found: Place[] = [];
  const walk = (node: Node): void => {
    if (typeof node !== 'object' || node === null || 'raw' in node) return;
    const isList = Array.isArray(node);
    const list = isList ? node : node.pairs;
    for (let index = 0; index < list.length; index++) {
      if (index === 12 && list.length > 24) index = list.length - 12;
      const entry = list[index];
      const value = isList ? (entry as Node) : ((entry as [string, Node] | undefined)?.[1] ?? null);
      const put = (given: Node) => {
        if (isList) node[index] = given;
        else if (node.pairs[index]) node.pairs[index] = [node.pairs[index]?.[0] ?? '', given];
      };
      found.push({ value, put, list, index });
      walk(value);
    }
  };
  walk(root);
  return found;
}

function nudge(value: Node, random: Random): Node {
  if (typeof value === 'number') return random.pick([value + 1, value - 1, -value, value * 2, value / 2, value * 1e6]);
  if (typeof value !== 'string') return random.pick(hostile);
  const at = random.below(value.length + 1);
  return random.pick([
    value.slice(0, at),
    `${value.slice(0, at)}x${value.slice(at)}`,
    value.toUpperCase(),
    `${value}${value}`,
  ]);
}

function mutateOnce(root: Node, random: Random): void {
  const all = places(root);
  const at = all[random.below(all.length)];
  const other = all[random.below(all.length)];
  if (!at || !other) return;
  const { list, index } = at;
  switch (random.below(8)) {
    case 0:
      at.put(random.pick(hostile));
      break;
    case 1:
      list.splice(index, 1);
      break;
    case 2: // the same key, or the same element, twice
      list.splice(index, 0, structuredClone(list[index]) as never);
      break;
    case 3: {
      const entry = list[index];
      if (!Array.isArray(list[index]) || typeof (entry as [string])[0] !== 'string') at.put(nudge(at.value, random));
      else list[index] = [random.pick(names), (entry as [string, Node])[1]] as never;
      break;
    }
    case 4: {
      const value = structuredClone(other.value);
      other.put(structuredClone(at.value));
      at.put(value);
      break;
    }
    default:
      at.put(nudge(at.value, random));
  }
}

/** JSON text with one to three changes of its structure; now and then of its characters. */
export function mutateJson(text: string, random: Random): string {
  const root = toNode(JSON.parse(text));
  for (let changes = 1 + random.below(3); changes > 0; changes--) mutateOnce(root, random);
  const out = toText(root);
  if (random.below(12) > 0) return out;
  const at = random.below(out.length);
  return random.pick([
    out.slice(0, at),
    `${out.slice(0, at)}${random.pick(['"', '}', ',', '\\', '\u0000'])}${out.slice(at)}`,
  ]);
}
