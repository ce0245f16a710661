// A grammar at work over a vocabulary: which tokens may come next. The automaton is made deterministic as texts go through it.
import type { Automaton, Refuse } from './automaton.ts';
import { MOST_DEPTH } from './analyse.ts';
import type { Vocabulary } from './vocabulary.ts';

/** Ways that a text may be read side by side, and steps along them for one mask: about 50 ms. */
const MOST_WAYS = 4096;
const MOST_WORK = 200_000;
/** What is remembered, by count; it is forgotten all at once, and made again where it is wanted. */
const KEPT_POSITIONS = 16_384;
const KEPT_MASKS = 256;

/** Where a call returns to, on top of the calls that it was made in. */
interface Frame {
  readonly id: number;
  readonly to: number;
  readonly depth: number;
  readonly outer: Frame | undefined;
}

/** A state that reads bytes, and the calls that it stands in. */
interface Way {
  readonly state: number;
  readonly frame: Frame | undefined;
}

/** All that the text so far may be. */
export interface Position {
  readonly ways: readonly Way[];
  /** Whether the text may end here. */
  readonly isComplete: boolean;
  /** By class of bytes; null: none. */
  readonly next: (Position | null | undefined)[];
}

export class Grammar {
  readonly start: Position;
  readonly vocabulary: Vocabulary;
  readonly #automaton: Automaton;
  readonly #refuse: Refuse;
  /** Bytes that no state tells apart are one class. */
  readonly #classOf = new Uint8Array(256);
  readonly #classes: number;
  #positions = new Map<string, Position>();
  #frames = new Map<number, Frame>();
  #masks = new Map<Position, Uint32Array>();
  #framesMade = 0;
  #work = 0;

  /** Errors: what `refuse` makes, where the text has too many readings; so does every mask. */
  constructor(automaton: Automaton, vocabulary: Vocabulary, refuse: Refuse) {
    this.#automaton = automaton;
    this.vocabulary = vocabulary;
    this.#refuse = refuse;
    const begins = new Uint8Array(257);
    for (const { bytes } of automaton.states) {
      for (const { low, high } of bytes) begins[low] = begins[high + 1] = 1;
    }
    let count = 0;
    for (let byte = 0; byte < 256; byte++) {
      if (byte > 0 && begins[byte]) count++;
      this.#classOf[byte] = count;
    }
    this.#classes = count + 1;
    this.start = this.#positionOf([{ state: automaton.root.start, frame: undefined }]);
    this.mask(this.start);
  }

  /** After one more byte; undefined where it may not come. */
  step(position: Position, byte: number): Position | undefined {
    const kind = this.#classOf[byte] ?? 0;
    let next = position.next[kind];
    if (next === undefined) {
      const ways: Way[] = [];
      for (const { state, frame } of position.ways) {
        for (const { low, high, to } of this.#automaton.states[state]?.bytes ?? [])
          if (low <= byte && byte <= high) ways.push({ state: to, frame });
      }
      const found = ways.length === 0 ? undefined : this.#positionOf(ways);
      next = found && (found.ways.length > 0 || found.isComplete) ? found : null;
      position.next[kind] = next;
    }
    return next ?? undefined;
  }

  /** After a token's bytes; undefined where they may not come. */
  advance(position: Position, bytes: Uint8Array): Position | undefined {
    let at: Position | undefined = position;
    for (const byte of bytes) at = at && this.step(at, byte);
    return at;
  }

  /**
   * The tokens that may follow, a bit each. `dropsSpace`: the text begins here and loses a space that it begins with.
   * Errors: what `refuse` makes, where that takes too long to find.
   */
  mask(position: Position, dropsSpace = false): Uint32Array {
    const known = dropsSpace ? undefined : this.#masks.get(position);
    if (known) return known;
    if (this.#masks.size >= KEPT_MASKS) this.#masks.clear();
    if (this.#positions.size >= KEPT_POSITIONS) {
      this.#positions = new Map();
      this.#frames = new Map();
      this.start.next.fill(undefined);
    }
    this.#work = 0;
    const mask = this.#walk(position, dropsSpace);
    if (!dropsSpace) this.#masks.set(position, mask);
    return mask;
  }

  #walk(position: Position, dropsSpace: boolean): Uint32Array {
    const { byte, depth, after, token, twin, nodes, size, longest } = this.vocabulary;
    const classOf = this.#classOf;
    const mask = new Uint32Array(Math.ceil(size / 32));
    const path = new Array<Position>(longest + 1).fill(position);
    for (let node = 1; node < nodes;) {
      const at = depth[node] ?? 0;
      const from = path[at - 1] ?? position;
      const value = byte[node] ?? 0;
      // What was found before is asked for here: most nodes of most walks were.
      let next = from.next[classOf[value] ?? 0];
      if (next === undefined) next = this.step(from, value) ?? null;
      if (dropsSpace && at === 1 && value === 0x20) next = from;
      if (!next) {
        node = after[node] ?? nodes;
        continue;
      }
      path[at] = next;
      for (let id = token[node] ?? -1; id >= 0; id = twin[id] ?? -1)
        mask[id >> 5] = (mask[id >> 5] ?? 0) | (1 << (id & 31));
      node++;
    }
    return mask;
  }

  /** Follows what takes no byte: calls, and returns from them. */
  #positionOf(from: Way[]): Position {
    const { states, need, isLast } = this.#automaton;
    const seen = new Set<number>();
    const ways: Way[] = [];
    let isComplete = false;
    const open = from;
    for (let way = open.pop(); way; way = open.pop()) {
      const { state, frame } = way;
      const depth = frame?.depth ?? 0;
      const key = (frame?.id ?? 0) * states.length + state;
      if (seen.has(key) || depth + (need[state] ?? Infinity) > MOST_DEPTH) continue;
      seen.add(key);
      if (++this.#work > MOST_WORK || seen.size > MOST_WAYS)
        throw this.#refuse('it can be read in so many ways at once that finding the next token takes too long');
      const { bytes = [], empty = [], calls = [] } = states[state] ?? {};
      if (bytes.length > 0) ways.push(way);
      for (const to of empty) open.push({ state: to, frame });
      for (const { rule, to } of calls) {
        if (isLast[to]) open.push({ state: rule.start, frame });
        else if (depth + (need[to] ?? Infinity) <= MOST_DEPTH)
          open.push({ state: rule.start, frame: this.#frameOf(to, depth + 1, frame) });
      }
      if (!this.#isEnd(state)) continue;
      if (frame) open.push({ state: frame.to, frame: frame.outer });
      else isComplete = true;
    }
    ways.sort((a, b) => (a.frame?.id ?? 0) - (b.frame?.id ?? 0) || a.state - b.state);
    const name = `${isComplete}${ways.map(({ state, frame }) => `,${frame?.id ?? 0}.${state}`).join('')}`;
    const known = this.#positions.get(name);
    if (known) return known;
    const made: Position = { ways, isComplete, next: new Array<undefined>(this.#classes).fill(undefined) };
    this.#positions.set(name, made);
    return made;
  }

  /** What leads nowhere is the end of a rule; no way comes to what never ends. */
  #isEnd(state: number): boolean {
    const { empty, bytes, calls } = this.#automaton.states[state] ?? {};
    return empty?.length === 0 && bytes?.length === 0 && calls?.length === 0;
  }

  #frameOf(to: number, depth: number, outer: Frame | undefined): Frame {
    const key = (outer?.id ?? 0) * this.#automaton.states.length + to;
    const known = this.#frames.get(key);
    if (known) return known;
    const made = { id: ++this.#framesMade, to, depth, outer };
    this.#frames.set(key, made);
    return made;
  }
}
