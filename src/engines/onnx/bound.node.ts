// Sessions whose weights are bound. One is given what its kernels read in place for as long as it lives, and what they lay out anew
// only while it is made; those over the same weights share what was laid out, and what was made of the weights to be read.
import type { DType } from '../../tensor/index.ts';
import { byteLength, countOf, LfmError } from '../../tensor/index.ts';
import type { OnnxBuffer } from './buffer.ts';
import { KeptWeights } from './kept.node.ts';
import type { LoweredProgram } from './lower.ts';
import type { Derived } from './lowering.ts';
import { Mapping } from './mapping.node.ts';
import type { SessionOptions } from './options.node.ts';
import { PrepackedWeights } from './prepacked.node.ts';
import { laysOut } from './probe.node.ts';
import type { RuntimeSession } from './runtime.ts';
import { Session } from './session.node.ts';
import { Value } from './value.node.ts';

/** By the names of their initializers. */
type Bound = Readonly<Record<string, OnnxBuffer<Value>>>;

/** A weight as a session is given it. */
interface Given {
  readonly name: string;
  readonly dtype: DType;
  readonly dims: readonly number[];
  /** The bound buffers that it is made of. */
  readonly from: readonly string[];
  /** Absent: it is a bound buffer as it is. */
  readonly fill?: Derived['fill'];
  /** Whether it is read only while the session is made. */
  readonly isPassing: boolean;
}

/** What the sessions over one set of weights have in common. */
interface Shared {
  readonly prepackedWeights: PrepackedWeights;
  /** What was made of the weights for kernels that read it in place, and is not in a file, by name. */
  readonly made: Map<string, Value>;
  kept: Promise<KeptWeights | undefined> | undefined;
  sessions: number;
}

/** Files are kept for weights of so many bytes or more. */
const LEAST_KEPT = 2 ** 25;

export class BoundSessions {
  readonly #options: SessionOptions;
  readonly #folder: string | undefined;
  readonly #leastKept: number;
  readonly #shared = new WeakMap<OnnxBuffer<Value>, Shared>();

  /** `folder`: where weights are kept as kernels take them; absent: nowhere. */
  constructor(options: SessionOptions, folder?: string, leastKept = LEAST_KEPT) {
    this.#options = options;
    this.#folder = Mapping.isPossible ? folder : undefined;
    this.#leastKept = leastKept;
  }

  /** The first of the buffers tells which weights they are. Errors: those of reading weights and of `Session.open`. */
  async open(lowered: LoweredProgram, bind: Bound): Promise<RuntimeSession<Value>> {
    const [first] = Object.values(bind);
    if (!first) throw new LfmError('bad-input', 'Expected weights to be bound, found none.');
    const shared: Shared = this.#shared.get(first) ?? {
      prepackedWeights: new PrepackedWeights(),
      made: new Map(),
      kept: undefined,
      sessions: 0,
    };
    this.#shared.set(first, shared);
    shared.sessions++;
    const leave = () => {
      if (--shared.sessions > 0) return;
      this.#shared.delete(first);
      shared.prepackedWeights.release();
      for (const value of shared.made.values()) value.release();
      void shared.kept?.then(
        (kept) => kept?.dispose(),
        () => undefined,
      );
    };
    try {
      const session = await this.#open(lowered, bind, shared);
      return {
        bind: (inputs, outputs) => session.bind(inputs, outputs),
        release: () => {
          session.release();
          leave();
        },
      };
    } catch (error) {
      leave();
      throw error;
    }
  }

  async #open(lowered: LoweredProgram, bind: Bound, shared: Shared): Promise<Session> {
    const given = this.#given(lowered, bind);
    const initializers: Record<string, Value> = {};
    const passing: Record<string, Value> = {};
    /** Made for this session, which holds those that it goes on reading. */
    const own: Value[] = [];
    const held: Value[] = [];
    /** Bound buffers that the session reads as they are. */
    const read = new Set<string>();
    try {
      shared.kept ??= this.#keep(given, bind).catch((error: unknown) => {
        shared.kept = undefined;
        throw error;
      });
      const kept = await shared.kept;
      for (const one of given) {
        const { name, dtype, dims, fill, isPassing } = one;
        const add = (value: Value) => void ((isPassing ? passing : initializers)[name] = value);
        const mapped = kept?.value(one);
        const known = mapped ?? shared.made.get(name);
        if (mapped) own.push(mapped);
        if (known) add(known);
        else if (fill) {
          const value = Value.zeros(dtype, dims);
          own.push(value);
          await fillFrom(one, bind, value.bytes());
          add(value);
          if (isPassing) continue;
          shared.made.set(name, value);
          own.pop();
        } else {
          const value = await bind[name]?.present();
          if (!value) continue;
          value.hold();
          held.push(value);
          add(value);
          if (!isPassing) read.add(name);
        }
      }
      const { prepackedWeights } = shared;
      const session = await Session.open(lowered.model, {
        ...this.#options,
        initializers,
        passing,
        prepackedWeights,
      });
      kept?.forgetPassing();
      return session;
    } finally {
      for (const value of held) value.letGo();
      for (const value of own) value.release();
      for (const [name, buffer] of Object.entries(bind)) if (!read.has(name)) buffer.letGo();
    }
  }

  #given({ readings, derived }: LoweredProgram, bind: Bound): Given[] {
    const isPassing = (name: string): boolean => {
      const reading = readings.get(name);
      return reading?.how === 'laid-out' && reading.by.every((node) => laysOut(node, this.#options));
    };
    const whole = Object.entries(bind).map(([name, { dtype, shape }]) => ({ name, dtype, dims: shape, from: [name] }));
    return [...whole, ...derived]
      .filter(({ name }) => readings.has(name))
      .map((one) => ({ ...one, isPassing: isPassing(one.name) }));
  }

  /** A file of what is made of stored weights alone. */
  async #keep(given: readonly Given[], bind: Bound): Promise<KeptWeights | undefined> {
    const identified = given.filter(({ from }) => from.every((name) => bind[name]?.identity !== undefined));
    const bytes = identified.reduce((sum, { dtype, dims }) => sum + byteLength(dtype, countOf(dims)), 0);
    if (this.#folder === undefined || bytes < this.#leastKept) return undefined;
    const uses = new Map<string, number>();
    for (const { from } of identified) for (const name of from) uses.set(name, (uses.get(name) ?? 0) + 1);
    const byName = new Map(identified.map((one) => [one.name, one]));
    const identities = Object.values(bind).flatMap(({ identity }) => identity ?? []);
    return KeptWeights.open(this.#folder, identities, identified, async (name, into) => {
      const one = byName.get(name);
      if (!one) return;
      await fillFrom(one, bind, into);
      for (const from of one.from) {
        const left = (uses.get(from) ?? 0) - 1;
        uses.set(from, left);
        if (left === 0) bind[from]?.letGo();
      }
    });
  }
}

/** Writes a weight's elements. Errors: those of reading what it is made of. */
async function fillFrom({ from, fill }: Given, bind: Bound, into: Uint8Array): Promise<void> {
  const sources: Value[] = [];
  try {
    for (const name of from) {
      const value = await bind[name]?.present();
      value?.hold();
      if (value) sources.push(value);
    }
    const bytes = sources.map((value) => value.bytes());
    if (fill) fill(into, ...bytes);
    else for (const whole of bytes) into.set(whole);
  } finally {
    for (const value of sources) value.letGo();
  }
}
