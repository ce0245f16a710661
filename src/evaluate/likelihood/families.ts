// Rows that begin alike, as the choices of one question: their beginning is run once, and its state forked for what is their own.
// Shapes: B beginnings of T tokens, R rows of K tokens of their own.
import type { Buffer, Buffers, Engine, Executable } from '../../engines/engine.ts';
import { disposeBuffers } from '../../generate/state.ts';
import type { Model } from '../../liquid/index.ts';
import { stateBytes, stateTypes } from '../../liquid/index.ts';
import type { Program } from '../../tensor/index.ts';
import { LfmError } from '../../tensor/index.ts';
import { forkProgram, spanProgram } from './programs.ts';
import type { ScoredRow } from './scorer.ts';

/** Rows of one group by their places in a list, and how many tokens they all begin with. */
export interface Family {
  readonly shared: number;
  readonly rows: readonly number[];
}

/** Hidden states [M, D], and at which of them which row's labels are scored. */
export interface Scorable {
  readonly hidden: Buffer;
  readonly owners: readonly number[];
  readonly places: readonly number[];
  readonly labels: readonly number[];
}

/** Tokens that a state holds: few, since a step walks all of them. Longer rows run whole. */
const CAPACITY = 128;
/** A shorter beginning is not worth a run of its own. */
const LEAST_SHARED = 8;
/** Of forked states at once. */
const MOST_BYTES = 256 * 2 ** 20;

/** Families of groups of rows that stand one behind the other, and the rows that are in none. */
export function familiesOf(rows: readonly ScoredRow[]): { readonly families: Family[]; readonly alone: number[] } {
  const [families, alone]: [Family[], number[]] = [[], []];
  for (let from = 0, to = 0; from < rows.length; from = to) {
    const { group } = rows[from] ?? {};
    to = from + 1;
    if (group !== undefined) while (to < rows.length && rows[to]?.group === group) to++;
    const own = Array.from({ length: to - from }, (_, i) => from + i);
    const [first = [], ...others] = own.map((row) => rows[row]?.tokens ?? []);
    const differs = first.findIndex((token, i) => others.some((tokens) => tokens[i] !== token));
    const shared = differs < 0 ? first.length : differs;
    const isShort = own.every((row) => (rows[row]?.tokens.length ?? 0) <= CAPACITY);
    if (others.length > 0 && shared >= LEAST_SHARED && isShort) families.push({ shared, rows: own });
    else alone.push(...own);
  }
  return { families, alone };
}

/** By falling length of the beginning, as many to a run as `tokens` hold of beginnings and of what follows them. */
export function familyRuns(
  families: readonly Family[],
  rows: readonly ScoredRow[],
  model: Model,
  tokens: number,
): Family[][] {
  const mostRows = Math.max(1, Math.floor(MOST_BYTES / Math.max(1, stateBytes(model, CAPACITY, 'float32'))));
  const own = (family: Family) =>
    Math.max(...family.rows.map((row) => (rows[row]?.tokens.length ?? 0) - family.shared));
  const fits = (run: readonly Family[]) => {
    const count = run.reduce((sum, family) => sum + family.rows.length, 0);
    const longest = Math.max(...run.map(own));
    return count <= mostRows && run.length * (run[0]?.shared ?? 0) <= tokens && count * longest <= tokens;
  };
  const runs: Family[][] = [];
  for (const family of families.toSorted((a, b) => b.shared - a.shared)) {
    const last = runs.at(-1);
    if (last && fits([...last, family])) last.push(family);
    else runs.push([family]);
  }
  return runs;
}

export class FamilyRunner {
  readonly #engine: Engine;
  readonly #model: Model;
  readonly #compile: (program: Program) => Promise<Executable>;
  #span: Promise<Executable> | undefined;
  #fork: Promise<Executable> | undefined;

  /** `compile` binds the model's weights. */
  constructor(engine: Engine, model: Model, compile: (program: Program) => Promise<Executable>) {
    this.#engine = engine;
    this.#model = model;
    this.#compile = compile;
  }

  /** Hidden states of the beginnings, and of what each row adds. Whoever takes them disposes them. */
  async run(families: readonly Family[], rows: readonly ScoredRow[]): Promise<Scorable[]> {
    const engine = this.#engine;
    const beginnings = families.map(({ shared, rows: [first = 0] }) => rows[first]?.tokens.slice(0, shared) ?? []);
    const empty: Record<string, Buffer> = {};
    for (const [name, { dtype, shape }] of Object.entries(
      stateTypes(this.#model, { batch: families.length, capacity: CAPACITY }),
    ))
      empty[`state.${name}`] = await engine.zeros(dtype, shape.map(Number));
    const begun = await this.#step(beginnings, new Int32Array(families.length), empty);
    const parts = [this.#scorable(begun.hidden, begun.length, families, rows, true)];
    const members = families.flatMap(({ shared, rows: own }, b) =>
      own.map((row) => ({ b, shared, tokens: rows[row]?.tokens.slice(shared) ?? [] })),
    );
    try {
      // Where each row's own part is one token, its label follows from the beginning alone.
      if (members.every(({ tokens }) => tokens.length === 0)) return parts;
      const fork = await (this.#fork ??= this.#engine.compile(forkProgram(this.#model, CAPACITY)));
      const parents = await engine.upload(
        'int32',
        [members.length],
        Int32Array.from(members, ({ b }) => b),
      );
      const forked = await fork.run({ ...begun.states, parents }).finally(() => parents.dispose());
      const starts = Int32Array.from(members, ({ shared }) => shared);
      const { hidden, length, states } = await this.#step(
        members.map(({ tokens }) => tokens),
        starts,
        forked,
      );
      disposeBuffers(states);
      return [...parts, this.#scorable(hidden, length, families, rows, false)];
    } catch (error) {
      for (const part of parts) part.hidden.dispose();
      throw error;
    } finally {
      disposeBuffers(begun.states);
    }
  }

  async release(): Promise<void> {
    for (const made of [this.#span, this.#fork]) await made?.then((one) => one.release()).catch(() => undefined);
  }

  async #step(tokens: readonly (readonly number[])[], starts: Int32Array, states: Buffers) {
    const [engine, batch] = [this.#engine, tokens.length];
    const length = Math.max(1, ...tokens.map((row) => row.length));
    const padded = new Int32Array(batch * length);
    tokens.forEach((row, b) => padded.set(row, b * length));
    const span = await (this.#span ??= this.#compile(
      spanProgram(this.#model, { batch: 'B', length: 'T', capacity: CAPACITY }),
    ));
    const given = {
      tokens: await engine.upload('int32', [batch, length], padded),
      starts: await engine.upload('int32', [batch], starts),
      lengths: await engine.upload(
        'int32',
        [batch],
        Int32Array.from(tokens, (row) => row.length),
      ),
    };
    const { hidden, ...after } = await span.run({ ...states, ...given }).finally(() => disposeBuffers(given));
    if (hidden) return { hidden, length, states: after };
    throw new LfmError('no-result', 'A run over rows gave no hidden states.');
  }

  /** The labels that follow from tokens of the beginnings, or from what is each row's own. */
  #scorable(
    hidden: Buffer,
    length: number,
    families: readonly Family[],
    rows: readonly ScoredRow[],
    ofBeginnings: boolean,
  ): Scorable {
    const [owners, places, labels]: [number[], number[], number[]] = [[], [], []];
    let at = 0;
    families.forEach(({ shared, rows: own }, b) => {
      for (const row of own) {
        const line = ofBeginnings ? b : at++;
        const { places: wanted = [], labels: next = [] } = rows[row] ?? {};
        wanted.forEach((place, i) => {
          if (place < shared !== ofBeginnings) return;
          owners.push(row);
          places.push(line * length + (ofBeginnings ? place : place - shared));
          labels.push(next[i] ?? 0);
        });
      }
    });
    return { hidden, owners, places, labels };
  }
}
