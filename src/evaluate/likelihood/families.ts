// Rows that begin alike, as the choices of one question: their beginning is run once, and its state forked for what is their own.
// Shapes: B beginnings of T tokens, R rows of K tokens of their own.
import type { Buffer, Buffers, Engine, Executable } from '../../engines/engine.ts';
import { disposeBuffers } from '../../generate/state.ts';
import type { Model } from '../../liquid/index.ts';
import { stateTypes } from '../../liquid/index.ts';
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
/** Tokens of beginnings, and of rows' own, that are run at once: few, so that those of about one length stand together. */
const BEGINNING_TOKENS = 320;
const OWN_TOKENS = 256;

/** Families of groups of rows that stand one behind the other, and the rows that are in none. */
export function familiesOf(rows: readonly ScoredRow[]): { readonly families: Family[]; readonly alone: number[] } {
  const [families, alone]: [Family[], number[]] = [[], []];
  const groups: number[][] = [];
  rows.forEach(({ group }, row) => {
    const last = groups.at(-1);
    if (last && group !== undefined && rows[last[0] ?? -1]?.group === group) last.push(row);
    else groups.push([row]);
  });
  for (const own of groups) {
    const [first = [], ...others] = own.map((row) => rows[row]?.tokens ?? []);
    const differs = first.findIndex((token, i) => others.some((tokens) => tokens[i] !== token));
    const shared = differs < 0 ? first.length : differs;
    const isShort = own.every((row) => (rows[row]?.tokens.length ?? 0) <= CAPACITY);
    if (others.length > 0 && shared >= LEAST_SHARED && isShort) families.push({ shared, rows: own });
    else alone.push(...own);
  }
  return { families, alone };
}

/** By falling length of the beginning. */
export function familyRuns(families: readonly Family[]): Family[][] {
  const runs: Family[][] = [];
  for (const family of families.toSorted((a, b) => b.shared - a.shared)) {
    const last = runs.at(-1);
    if (last && (last.length + 1) * (last[0]?.shared ?? 0) <= BEGINNING_TOKENS) last.push(family);
    else runs.push([family]);
  }
  return runs;
}

/** A row's tokens from `from` on, as line `line` of a run; `until`: where the run's part of it ends. */
interface Line {
  readonly row: number;
  readonly line: number;
  readonly from: number;
  readonly until: number;
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
    const sizeOf = (row: number) => rows[row]?.tokens.length ?? 0;
    const begun = await this.#step(
      families.map(({ shared, rows: [first = 0] }) => rows[first]?.tokens.slice(0, shared) ?? []),
      new Int32Array(families.length),
      await this.#empty(families.length),
    );
    const beginnings = families.flatMap(({ shared, rows: own }, line) =>
      own.map((row) => ({ row, line, from: 0, until: shared })),
    );
    const parts = [scorable(begun, beginnings, rows)];
    const members = families
      .flatMap(({ shared, rows: own }, parent) => own.map((row) => ({ row, parent, from: shared })))
      .filter(({ row, from }) => sizeOf(row) > from)
      .toSorted((a, b) => sizeOf(b.row) - b.from - (sizeOf(a.row) - a.from));
    try {
      for (let at = 0; at < members.length;) {
        const [longest] = members.slice(at);
        const count = longest ? Math.floor(OWN_TOKENS / (sizeOf(longest.row) - longest.from)) : 0;
        const taken = members.slice(at, at + Math.max(1, count));
        at += taken.length;
        const after = await this.#step(
          taken.map(({ row, from }) => rows[row]?.tokens.slice(from) ?? []),
          Int32Array.from(taken, ({ from }) => from),
          await this.#forked(
            begun.states,
            taken.map(({ parent }) => parent),
          ),
        );
        disposeBuffers(after.states);
        const lines = taken.map(({ row, from }, line) => ({ row, line, from, until: sizeOf(row) }));
        parts.push(scorable(after, lines, rows));
      }
      return parts;
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

  async #empty(batch: number): Promise<Buffers> {
    const made: Record<string, Buffer> = {};
    for (const [name, { dtype, shape }] of Object.entries(stateTypes(this.#model, { batch, capacity: CAPACITY })))
      made[`state.${name}`] = await this.#engine.zeros(dtype, shape.map(Number));
    return made;
  }

  async #forked(states: Buffers, lines: readonly number[]): Promise<Buffers> {
    const fork = await (this.#fork ??= this.#engine.compile(forkProgram(this.#model, CAPACITY)));
    const parents = await this.#engine.upload('int32', [lines.length], Int32Array.from(lines));
    return fork.run({ ...states, parents }).finally(() => parents.dispose());
  }

  async #step(tokens: readonly (readonly number[])[], starts: Int32Array, states: Buffers) {
    const [engine, batch] = [this.#engine, tokens.length];
    const length = Math.max(...tokens.map((row) => row.length));
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
}

/** The labels that follow from tokens of the lines. */
function scorable(
  { hidden, length }: { readonly hidden: Buffer; readonly length: number },
  lines: readonly Line[],
  rows: readonly ScoredRow[],
): Scorable {
  const [owners, places, labels]: [number[], number[], number[]] = [[], [], []];
  for (const { row, line, from, until } of lines) {
    const { places: wanted = [], labels: next = [] } = rows[row] ?? {};
    wanted.forEach((place, i) => {
      if (place < from || place >= until) return;
      owners.push(row);
      places.push(line * length + place - from);
      labels.push(next[i] ?? 0);
    });
  }
  return { hidden, owners, places, labels };
}
