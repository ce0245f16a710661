// What was computed for texts, kept for texts that begin alike: a radix tree over tokens that holds copies of the rows of
// growing states, a span an edge, and snapshots of the states of fixed size here and there. Least recently used goes first.
import type { Buffer, Buffers } from '../engines/engine.ts';
import type { DType, HostArray } from '../tensor/index.ts';
import type { Generator } from './generator.ts';
import type { State } from './state.ts';
import { boxAt, bufferOf, disposeBuffers, kindsOf, rowAxis } from './state.ts';

/** The states of fixed size after `position` tokens, [1, ...] each. */
export interface Snapshot {
  readonly position: number;
  readonly buffers: Buffers;
}

export interface SavedArray {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: HostArray;
}

/** What a cache holds of the first `length` tokens of a text, in host memory. */
export interface SavedPrefix {
  readonly length: number;
  readonly rows: Readonly<Record<string, SavedArray>>;
  readonly snapshots: readonly { readonly position: number; readonly arrays: Readonly<Record<string, SavedArray>> }[];
}

export interface CacheStatistics {
  /** Bytes held, and most that may be. */
  readonly bytes: number;
  readonly budget: number;
  /** Texts that found something, and those that found nothing. */
  readonly hits: number;
  readonly misses: number;
  /** Tokens that did not have to be computed. */
  readonly reusedTokens: number;
  readonly evictions: number;
}

interface Node {
  parent: Node | undefined;
  /** Tokens before its own. */
  readonly start: number;
  readonly tokens: readonly number[];
  /** By state, rows of its tokens, [1, ..., n, D]. */
  readonly rows: Buffers;
  snapshots: Snapshot[];
  readonly children: Map<number, Node>;
  used: number;
}

/** A text under way: what its state holds is the cache's only later, and at hand for others until then. */
export interface Lender {
  readonly key: string;
  /** The first of them are in row `row` of the state, as many as it holds. */
  readonly tokens: readonly number[];
  readonly state: State;
  readonly row: number;
  readonly snapshots: readonly Snapshot[];
}

/** The part of a path that a text shares: its nodes, and how many tokens they hold of it. */
interface Match {
  readonly nodes: readonly Node[];
  readonly length: number;
}

/** The beginning of a text, as something holds it. */
interface Held {
  readonly length: number;
  /** The only node that holds it, where it has nothing below it. */
  readonly only?: Node | undefined;
  readonly snapshots: readonly Snapshot[];
  /** The rows of tokens `start` to `end` are the first of row `row` of these buffers. */
  readonly spans: readonly {
    readonly start: number;
    readonly end: number;
    readonly rows: Buffers;
    readonly row: number;
  }[];
}

/** Of a state's room a text must take this part for its buffers to be kept as they are. */
const LEAST_FILLED = 1 / 2;
/** Snapshots take at most this share of the rows' bytes, those at the ends of turns not counted. */
const SNAPSHOT_SHARE = 1 / 4;

function bytesOf(buffers: Buffers): number {
  return Object.values(buffers).reduce((sum, { byteLength }) => sum + byteLength, 0);
}

export class PrefixCache {
  readonly #generator: Generator;
  readonly #growing: readonly string[];
  readonly #fixed: readonly string[];
  readonly #budget: number;
  readonly #lenders: () => readonly Lender[];
  /** A tree for each key: what is computed under different settings never mixes. */
  readonly #roots = new Map<string, Node>();
  #bytes = 0;
  #clock = 0;
  #hits = 0;
  #misses = 0;
  #reused = 0;
  #evictions = 0;

  /**
   * One generator's: one model, weights, element type and numeric mode. `lenders`: texts under way. Errors: none; a budget of 0 keeps
   * nothing.
   */
  constructor(generator: Generator, budget: number, lenders: () => readonly Lender[] = () => []) {
    const { growing, fixed } = kindsOf(generator.model);
    this.#generator = generator;
    this.#growing = growing;
    this.#fixed = fixed;
    this.#budget = budget;
    this.#lenders = lenders;
  }

  get statistics(): CacheStatistics {
    return {
      bytes: this.#bytes,
      budget: this.#budget,
      hits: this.#hits,
      misses: this.#misses,
      reusedTokens: this.#reused,
      evictions: this.#evictions,
    };
  }

  get isEnabled(): boolean {
    return this.#budget > 0;
  }

  /** Whether a text is reused only from where a snapshot was taken. */
  get needsSnapshots(): boolean {
    return this.isEnabled && this.#fixed.length > 0;
  }

  /** Tokens between snapshots of a state that is not kept by rows alone; Infinity where rows are too few to pay for them. */
  spacing(state: State): number {
    if (!this.needsSnapshots) return Infinity;
    const batch = state.lengths.length;
    const bytes = (names: readonly string[]) =>
      names.reduce((sum, name) => sum + bufferOf(state.buffers, name).byteLength, 0) / batch;
    const perRow = bytes(this.#growing) / state.capacity;
    return perRow === 0 ? Infinity : Math.ceil(bytes(this.#fixed) / (SNAPSHOT_SHARE * perRow));
  }

  /** Copies the states of fixed size of a row, where there are any. */
  async snapshot(state: State, row: number): Promise<Snapshot> {
    const buffers: Record<string, Buffer> = {};
    try {
      for (const name of this.#fixed) {
        const source = bufferOf(state.buffers, name);
        const shape = source.shape.with(0, 1);
        const target = (buffers[`state.${name}`] = await this.#generator.engine.zeros(source.dtype, shape));
        await this.#generator.engine.copy(source, target, boxAt(shape, row, 0));
      }
    } catch (error) {
      disposeBuffers(buffers);
      throw error;
    }
    return { position: state.lengths[row] ?? 0, buffers };
  }

  /** Puts a snapshot back: the row holds as many tokens as it held then, whose rows are still there. */
  async restoreSnapshot({ position, buffers }: Snapshot, state: State, row: number): Promise<void> {
    for (const name of this.#fixed) {
      const [source, target] = [bufferOf(buffers, name), bufferOf(state.buffers, name)];
      // A window's buffer is as large as its state's capacity, up to the window.
      const shape = source.shape.map((size, axis) => Math.min(size, target.shape[axis] ?? 0)).with(0, 1);
      await this.#generator.engine.copy(source, target, boxAt(shape, 0, row));
    }
    state.lengths[row] = position;
  }

  /**
   * Makes the row of an empty state hold the longest beginning of a text that is at hand, at most `most` tokens, in whole multiples
   * of `unit`. Answers the snapshots that are the caller's from now on: with the rows themselves, where nobody else can be expected to
   * want them.
   */
  async restore(
    key: string,
    tokens: readonly number[],
    state: State,
    most: number,
    unit = 1,
  ): Promise<readonly Snapshot[]> {
    let [reached, best]: [number, Held | undefined] = [0, undefined];
    let last: Snapshot | undefined;
    for (const held of this.#held(key, tokens, state)) {
      const limit = Math.floor(Math.min(held.length, most) / unit) * unit;
      const snapshot = held.snapshots.findLast(({ position }) => position <= limit && position % unit === 0);
      const far = this.#fixed.length === 0 ? limit : (snapshot?.position ?? 0);
      if (far > reached) [reached, best, last] = [far, held, snapshot];
    }
    if (!best) {
      this.#misses++;
      return [];
    }
    const { spans, only, length } = best;
    // All of it will be in this text, too.
    const given = only?.tokens.length === length && unit === 1 && this.#give(only, state) ? only : undefined;
    for (const { start, end, rows, row } of given ? [] : spans) {
      const count = Math.min(end, reached) - start;
      if (count > 0) await this.#copyRows(this.#growing, rows, row, 0, state.buffers, 0, start, count);
    }
    if (last && this.#fixed.length > 0) await this.restoreSnapshot(last, state, 0);
    state.lengths[0] = reached;
    this.#hits++;
    this.#reused += reached;
    const snapshots = given?.snapshots ?? [];
    for (const { position, buffers } of snapshots) if (position > reached) disposeBuffers(buffers);
    return snapshots.filter(({ position }) => position <= reached);
  }

  /** Makes a node's rows a state's own, where they have its size: they are held once, and not copied. */
  #give(node: Node, state: State): boolean {
    const isAlike = Object.entries(node.rows).every(
      ([name, { shape }]) => shape.join() === state.buffers[name]?.shape.join(),
    );
    if (!isAlike) return false;
    for (const name of Object.keys(node.rows)) state.buffers[name]?.dispose();
    state.buffers = { ...state.buffers, ...node.rows };
    node.parent?.children.delete(node.tokens[0] ?? -1);
    for (const buffers of [node.rows, ...node.snapshots.map((one) => one.buffers)]) this.#bytes -= bytesOf(buffers);
    return true;
  }

  /** What is at hand of a text: first in the tree, then in other states than `own`. */
  #held(key: string, tokens: readonly number[], own: State): Held[] {
    const { nodes, length } = this.#match(key, tokens);
    const [, first, second] = nodes;
    const found: Held[] = [
      {
        length,
        only: first && !second && first.children.size === 0 ? first : undefined,
        snapshots: nodes.flatMap(({ snapshots }) => snapshots),
        spans: nodes.map(({ start, tokens: held, rows }) => ({ start, end: start + held.length, rows, row: 0 })),
      },
    ];
    for (const { key: other, tokens: held, state, row, snapshots } of this.#lenders()) {
      if (other !== key || state === own) continue;
      const most = Math.min(tokens.length, state.lengths[row] ?? 0);
      let same = 0;
      while (same < most && held[same] === tokens[same]) same++;
      found.push({ length: same, snapshots, spans: [{ start: 0, end: same, rows: state.buffers, row }] });
    }
    return found;
  }

  /**
   * Keeps what row `row` of a state holds of a text, whose tokens are given up to there, as far as it is new. The snapshots
   * are the cache's from now on, in the order of their positions; `isOver`: so are the rows, which leave the state as they are or go
   * one by one as they are copied.
   */
  async insert(
    key: string,
    tokens: readonly number[],
    state: State,
    row: number,
    snapshots: readonly Snapshot[],
    isOver = false,
  ): Promise<void> {
    const unused = new Set(snapshots);
    try {
      const node = await this.#grow(key, tokens, state, row, isOver);
      for (let at: Node | undefined = node; at; at = at.parent) {
        const { start, tokens: held } = at;
        const has = new Set(at.snapshots.map(({ position }) => position));
        const mine = [...unused].filter(({ position }) => position > start && position <= start + held.length);
        for (const snapshot of mine.filter(({ position }) => !has.has(position))) {
          at.snapshots.push(snapshot);
          unused.delete(snapshot);
          this.#bytes += bytesOf(snapshot.buffers);
        }
        at.snapshots.sort((a, b) => a.position - b.position);
      }
    } finally {
      for (const { buffers } of unused) disposeBuffers(buffers);
    }
    this.#evict();
  }

  /** What is held of a text, in host memory; undefined where it is nothing. */
  async export(key: string, tokens: readonly number[]): Promise<SavedPrefix | undefined> {
    const { nodes, length } = this.#match(key, tokens);
    const first = nodes.find(({ tokens: held }) => held.length > 0);
    if (!first) return undefined;
    const { engine } = this.#generator;
    const rows: Record<string, Buffer> = {};
    try {
      for (const name of this.#growing) {
        const like = bufferOf(first.rows, name);
        rows[`state.${name}`] = await engine.zeros(like.dtype, like.shape.with(rowAxis(like), length));
      }
      for (const { start, tokens: held, rows: source } of nodes) {
        const count = Math.min(held.length, length - start);
        if (count > 0) await this.#copyRows(this.#growing, source, 0, 0, rows, 0, start, count);
      }
      const snapshots = nodes.flatMap((node) => node.snapshots).filter(({ position }) => position <= length);
      return {
        length,
        rows: await this.#download(rows),
        snapshots: await Promise.all(
          snapshots.map(async ({ position, buffers }) => ({ position, arrays: await this.#download(buffers) })),
        ),
      };
    } finally {
      disposeBuffers(rows);
    }
  }

  /** Takes over what an `export` gave for the same text and model. */
  async import(key: string, tokens: readonly number[], { length, rows, snapshots }: SavedPrefix): Promise<void> {
    if (!this.isEnabled) return;
    const state: State = { capacity: length, lengths: Int32Array.of(length), buffers: await this.#upload(rows) };
    try {
      const uploaded: Snapshot[] = [];
      for (const { position, arrays } of snapshots) uploaded.push({ position, buffers: await this.#upload(arrays) });
      await this.insert(key, tokens.slice(0, length), state, 0, uploaded, true);
    } finally {
      disposeBuffers(state.buffers);
    }
  }

  async #download(buffers: Buffers): Promise<Record<string, SavedArray>> {
    const arrays: Record<string, SavedArray> = {};
    for (const [name, buffer] of Object.entries(buffers)) {
      const { dtype, shape } = buffer;
      arrays[name] = { dtype, shape, data: await this.#generator.engine.download(buffer) };
    }
    return arrays;
  }

  async #upload(arrays: Readonly<Record<string, SavedArray>>): Promise<Buffers> {
    const buffers: Record<string, Buffer> = {};
    try {
      for (const [name, { dtype, shape, data }] of Object.entries(arrays))
        buffers[name] = await this.#generator.engine.upload(dtype, shape, data);
      return buffers;
    } catch (error) {
      disposeBuffers(buffers);
      throw error;
    }
  }

  /** Lets everything go. */
  clear(): void {
    for (const root of this.#roots.values()) this.#forget(root);
    this.#roots.clear();
  }

  #match(key: string, tokens: readonly number[]): Match {
    const nodes: Node[] = [];
    let length = 0;
    for (let node = this.#roots.get(key); node; node = node.children.get(tokens[length] ?? -1)) {
      node.used = ++this.#clock;
      const { start, tokens: held } = node;
      let same = 0;
      while (same < held.length && held[same] === tokens[start + same]) same++;
      length = start + same;
      nodes.push(node);
      if (same < held.length) break;
    }
    return { nodes, length };
  }

  /** The node that ends where the text does, made where there is none. */
  async #grow(key: string, tokens: readonly number[], state: State, row: number, isOver: boolean): Promise<Node> {
    const root = this.#roots.get(key) ?? this.#node(undefined, 0, [], {});
    this.#roots.set(key, root);
    const { nodes, length } = this.#match(key, tokens);
    const last = nodes.at(-1) ?? root;
    const end = last.start + last.tokens.length;
    const parent = length < end ? await this.#split(last, length - last.start) : last;
    if (length === tokens.length) return parent;
    const isWhole = length === 0 && state.lengths.length === 1 && tokens.length >= LEAST_FILLED * state.capacity;
    const rows =
      isOver && isWhole
        ? this.#taken(state)
        : await this.#span(state.buffers, row, length, tokens.length - length, isOver);
    const node = this.#node(parent, length, tokens.slice(length), rows);
    parent.children.set(tokens[length] ?? -1, node);
    this.#bytes += bytesOf(rows);
    return node;
  }

  #node(parent: Node | undefined, start: number, tokens: readonly number[], rows: Buffers): Node {
    return { parent, start, tokens, rows, snapshots: [], children: new Map(), used: ++this.#clock };
  }

  /** Cuts a node after `count` of its tokens; answers the first part. */
  async #split(node: Node, count: number): Promise<Node> {
    const { parent, start, tokens } = node;
    const first = await this.#span(node.rows, 0, 0, count);
    let second: Buffers;
    try {
      second = await this.#span(node.rows, 0, count, tokens.length - count);
    } catch (error) {
      disposeBuffers(first);
      throw error;
    }
    const upper = this.#node(parent, start, tokens.slice(0, count), first);
    const lower: Node = { ...node, parent: upper, start: start + count, tokens: tokens.slice(count), rows: second };
    for (const child of lower.children.values()) child.parent = lower;
    const cut = start + count;
    upper.snapshots = node.snapshots.filter(({ position }) => position <= cut);
    lower.snapshots = node.snapshots.filter(({ position }) => position > cut);
    upper.children.set(tokens[count] ?? -1, lower);
    parent?.children.set(tokens[0] ?? -1, upper);
    disposeBuffers(node.rows);
    return upper;
  }

  /** A state's rows, which are its own no longer. */
  #taken(state: State): Buffers {
    const isGrowing = ([name]: readonly [string, Buffer]) => this.#growing.some((one) => name === `state.${one}`);
    const [all, rows] = [Object.entries(state.buffers), {} as Record<string, Buffer>];
    for (const [name, buffer] of all.filter(isGrowing)) rows[name] = buffer;
    state.buffers = Object.fromEntries(all.filter((one) => !isGrowing(one)));
    return rows;
  }

  /** A copy of `count` rows of one row of the batch, from `from` on; `isOver`: each buffer goes when it was copied. */
  async #span(buffers: Buffers, row: number, from: number, count: number, isOver = false): Promise<Buffers> {
    const rows: Record<string, Buffer> = {};
    try {
      for (const name of this.#growing) {
        const source = bufferOf(buffers, name);
        const shape = source.shape.with(0, 1).with(rowAxis(source), count);
        rows[`state.${name}`] = await this.#generator.engine.zeros(source.dtype, shape);
        await this.#copyRows([name], buffers, row, from, rows, 0, 0, count);
        if (isOver) source.dispose();
      }
      return rows;
    } catch (error) {
      disposeBuffers(rows);
      throw error;
    }
  }

  async #copyRows(
    names: readonly string[],
    source: Buffers,
    row: number,
    from: number,
    target: Buffers,
    into: number,
    to: number,
    count: number,
  ): Promise<void> {
    for (const name of names) {
      const [a, b] = [bufferOf(source, name), bufferOf(target, name)];
      const axis = rowAxis(a);
      const shape = a.shape.with(0, 1).with(axis, count);
      const zeros = shape.map(() => 0);
      await this.#generator.engine.copy(a, b, {
        from: zeros.with(0, row).with(axis, from),
        to: zeros.with(0, into).with(axis, to),
        shape,
      });
    }
  }

  /** Frees leaves, those used longest ago first, until what is held fits. */
  #evict(): void {
    while (this.#bytes > this.#budget) {
      const leaf = this.#oldestLeaf();
      if (!leaf) return;
      this.#forget(leaf);
      leaf.parent?.children.delete(leaf.tokens[0] ?? -1);
      this.#evictions++;
    }
  }

  #oldestLeaf(): Node | undefined {
    let oldest: Node | undefined;
    const pending = [...this.#roots.values()];
    for (let node = pending.pop(); node; node = pending.pop()) {
      pending.push(...node.children.values());
      if (node.parent && node.children.size === 0 && (!oldest || node.used < oldest.used)) oldest = node;
    }
    return oldest;
  }

  /** Frees what a node and those below it hold. */
  #forget(node: Node): void {
    for (const child of node.children.values()) this.#forget(child);
    for (const { buffers } of [{ buffers: node.rows }, ...node.snapshots]) {
      this.#bytes -= bytesOf(buffers);
      disposeBuffers(buffers);
    }
  }
}
