// What is known of an automaton's states before any text is read: which can end, how deep they must call, which call themselves.

export interface AutomatonState {
  readonly empty: number[];
  readonly bytes: { readonly low: number; readonly high: number; readonly to: number }[];
  readonly calls: { readonly rule: Rule; readonly to: number }[];
}

export interface Rule {
  /** '' for a part of an expression. */
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/** Calls within calls that a text may make. */
export const MOST_DEPTH = 256;

/** Ways into states: from where by an edge, from where by a call that returns there, and by the start of a rule who calls it. */
export interface Backward {
  readonly edges: readonly (readonly number[])[];
  readonly returns: readonly (readonly { readonly from: number; readonly rule: Rule }[])[];
  readonly callers: ReadonlyMap<number, readonly { readonly from: number; readonly to: number }[]>;
}

export function reverse(states: readonly AutomatonState[]): Backward {
  const edges = states.map((): number[] => []);
  const returns = states.map((): { from: number; rule: Rule }[] => []);
  const callers = new Map<number, { from: number; to: number }[]>();
  for (const [from, { empty, bytes, calls }] of states.entries()) {
    for (const to of empty) edges[to]?.push(from);
    for (const { to } of bytes) edges[to]?.push(from);
    for (const { rule, to } of calls) {
      returns[to]?.push({ from, rule });
      const known = callers.get(rule.start);
      if (known) known.push({ from, to });
      else callers.set(rule.start, [{ from, to }]);
    }
  }
  return { edges, returns, callers };
}

/** States whose rest is nothing: ends, and what leads only there. */
export function lasts(states: readonly AutomatonState[], { edges }: Backward, ends: readonly number[]): boolean[] {
  const found = states.map(() => false);
  const open = [...ends];
  for (const end of ends) found[end] = true;
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    for (const from of edges[state] ?? []) {
      const { empty = [], bytes = [], calls = [] } = states[from] ?? {};
      if (found[from] || empty.length !== 1 || bytes.length > 0 || calls.length > 0) continue;
      found[from] = true;
      open.push(from);
    }
  }
  return found;
}

/** Calls within calls that the rest of each state's rule needs at least; Infinity where more than may be, or where it has no end. */
export function needs(
  states: readonly AutomatonState[],
  { edges, returns, callers }: Backward,
  ends: readonly number[],
  isLast: readonly boolean[],
): number[] {
  const need = states.map(() => Infinity);
  const open: number[] = [];
  let depth = 0;
  const mark = (state: number) => {
    if ((need[state] ?? 0) <= depth) return;
    need[state] = depth;
    open.push(state);
  };
  /** Calls that are affordable from a depth on. */
  let later: { readonly from: number; readonly to: number }[] = [];
  const call = (from: number, to: number, ruleNeed: number) => {
    if (ruleNeed === Infinity || need[to] === Infinity) return;
    // A call at a rule's end takes its place.
    if (ruleNeed + (isLast[to] ? 0 : 1) <= depth) mark(from);
    else later.push({ from, to });
  };
  for (const end of ends) mark(end);
  for (;;) {
    for (let state = open.pop(); state !== undefined; state = open.pop()) {
      for (const from of edges[state] ?? []) mark(from);
      for (const { from, rule } of returns[state] ?? []) call(from, state, need[rule.start] ?? Infinity);
      for (const { from, to } of callers.get(state) ?? []) call(from, to, depth);
    }
    if (later.length === 0 || depth === MOST_DEPTH) return need;
    depth++;
    const due = later;
    later = [];
    for (const { from } of due) mark(from);
  }
}

/** States from which their rule can end without a byte. */
export function nullables(
  states: readonly AutomatonState[],
  { returns, callers }: Backward,
  ends: readonly number[],
): boolean[] {
  const found = states.map(() => false);
  const open: number[] = [];
  const mark = (state: number) => {
    if (!found[state]) open.push(state);
    found[state] = true;
  };
  const into = states.map((): number[] => []);
  for (const [from, { empty }] of states.entries()) for (const to of empty) into[to]?.push(from);
  for (const end of ends) mark(end);
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    for (const from of into[state] ?? []) mark(from);
    for (const { from, rule } of returns[state] ?? []) if (found[rule.start]) mark(from);
    for (const { from, to } of callers.get(state) ?? []) if (found[to]) mark(from);
  }
  return found;
}

/** A rule that can call itself before a byte has been read. */
export function findLeftCall(states: readonly AutomatonState[], nullable: readonly boolean[]): Rule | undefined {
  const next = (state: number) => {
    const { empty = [], calls = [] } = states[state] ?? {};
    return [...empty, ...calls.flatMap(({ rule, to }) => (nullable[rule.start] ? [rule.start, to] : [rule.start]))];
  };
  const component = components(states.length, next);
  for (const [state, { calls }] of states.entries())
    for (const { rule } of calls) if (component[state] === component[rule.start]) return rule;
  return undefined;
}

/** Tarjan's strongly connected components (1972), without recursion: a number for each node. */
function components(count: number, next: (node: number) => readonly number[]): Int32Array {
  const component = new Int32Array(count).fill(-1);
  const order = new Int32Array(count).fill(-1);
  const low = new Int32Array(count);
  const path: number[] = [];
  let seen = 0;
  let made = 0;
  for (let root = 0; root < count; root++) {
    if (order[root] !== -1) continue;
    const visits = [{ node: root, next: next(root), at: 0 }];
    order[root] = low[root] = seen++;
    path.push(root);
    for (let visit = visits.at(-1); visit; visit = visits.at(-1)) {
      const { node } = visit;
      const child = visit.next[visit.at++];
      if (child !== undefined) {
        if (order[child] === -1) {
          order[child] = low[child] = seen++;
          path.push(child);
          visits.push({ node: child, next: next(child), at: 0 });
        } else if (component[child] === -1) low[node] = Math.min(low[node] ?? 0, order[child] ?? 0);
        continue;
      }
      visits.pop();
      const parent = visits.at(-1)?.node;
      if (parent !== undefined) low[parent] = Math.min(low[parent] ?? 0, low[node] ?? 0);
      if (low[node] !== order[node]) continue;
      for (let member = path.pop(); member !== undefined; member = path.pop()) {
        component[member] = made;
        if (member === node) break;
      }
      made++;
    }
  }
  return component;
}
