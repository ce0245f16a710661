// Sessions whose weights are bound. One is given what its kernels read in place for as long as it lives, and what they lay out anew
// only while it is made; those over the same weights share what was laid out, and what was made of the weights to be read.
import type { DType } from '../../tensor/index.ts';
import { byteLength, countOf, LfmError } from '../../tensor/index.ts';
import type { OnnxBuffer } from './buffer.ts';
import { KeptWeights } from './kept.node.ts';
import type { LoweredProgram } from './lower.ts';
import type { Derived } from './lowering.ts';
import { Mapping } from './mapping.node.ts';
import { returnFreed } from './memory.node.ts';
import type { ExternalData } from './proto.ts';
import { scratchArrays } from './scratch.node.ts';
import type { SessionOptions } from './options.node.ts';
import { PrepackedWeights } from './prepacked.node.ts';
import { kindOf, laysOut } from './probe.node.ts';
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
  /** By what a session is given. */
  readonly kept: Map<string, Promise<KeptWeights | undefined>>;
  sessions: number;
}

/** Files are kept for weights of so many bytes or more. */
const LEAST_KEPT = 2 ** 25;
const FILES_FOLDER = 'session.model_external_initializers_file_folder_path';

export class BoundSessions {
  readonly #options: SessionOptions;
  readonly #files: { readonly folder: string | undefined; readonly leastKept: number };
  readonly #shared = new WeakMap<OnnxBuffer<Value>, Shared>();

  /** `folder`: where weights are kept as kernels take them; absent: nowhere. */
  constructor(options: SessionOptions, folder?: string, leastKept = LEAST_KEPT) {
    this.#options = options;
    this.#files = { folder: Mapping.isPossible ? folder : undefined, leastKept };
  }

  /** The first of the buffers tells which weights they are. Errors: those of reading weights and of `Session.open`. */
  async open(lowered: LoweredProgram, bind: Bound): Promise<RuntimeSession<Value>> {
    const [first] = Object.values(bind);
    if (!first) throw new LfmError('bad-input', 'Expected weights to be bound, found none.');
    const shared: Shared = this.#shared.get(first) ?? {
      prepackedWeights: new PrepackedWeights(),
      made: new Map(),
      kept: new Map(),
      sessions: 0,
    };
    this.#shared.set(first, shared);
    shared.sessions++;
    const leave = () => {
      if (--shared.sessions > 0) return;
      this.#shared.delete(first);
      shared.prepackedWeights.release();
      for (const value of shared.made.values()) value.release();
    };
    try {
      const session = await this.#open(lowered, bind, shared);
      return {
        bind: (inputs, outputs) => session.bind(inputs, outputs),
        release: () => {
          session.release();
          leave();
          returnFreed();
        },
      };
    } catch (error) {
      leave();
      throw error;
    } finally {
      returnFreed();
    }
  }

  async #open(lowered: LoweredProgram, bind: Bound, shared: Shared): Promise<Session> {
    const given = this.#given(lowered, bind);
    const { folder, leastKept } = this.#files;
    const bytes = given.reduce((sum, { dtype, dims }) => sum + byteLength(dtype, countOf(dims)), 0);
    const isStored = given.every(({ from }) => from.every((name) => bind[name]?.identity !== undefined));
    if (folder === undefined || bytes < leastKept || !isStored) return this.#openWith(lowered, given, bind, shared);
    // Kernels of other kinds lay the same weights out otherwise.
    const kinds = [...lowered.readings.values()].flatMap((reading) => (reading.how === 'laid-out' ? reading.by : []));
    const identities = [
      ...[...new Set(kinds.map((node) => JSON.stringify(kindOf(node))))].toSorted(),
      ...Object.entries(bind).map(([name, { identity }]) => `${name} ${identity}`),
    ];
    const key = identities.join();
    const keeping = shared.kept.get(key) ?? this.#keep(folder, identities, lowered, given, bind);
    shared.kept.set(key, keeping);
    const kept = await keeping;
    if (kept) {
      try {
        return await this.#openWith(lowered, given, bind, shared, kept);
      } catch {
        // The files may be gone meanwhile: then as if there never were any.
        shared.kept.set(key, Promise.resolve(undefined));
      }
    }
    return this.#openWith(lowered, given, bind, shared);
  }

  async #openWith(
    lowered: LoweredProgram,
    given: readonly Given[],
    bind: Bound,
    { made, prepackedWeights }: Shared,
    kept?: KeptWeights,
  ): Promise<Session> {
    const places = new Map<string, ExternalData>();
    const initializers: Record<string, Value> = {};
    const passing: Record<string, Value> = {};
    /** Made for this session, which reads them no more once it is made. */
    const own: Value[] = [];
    const held: Value[] = [];
    /** Bound buffers that the session reads as they are. */
    const read = new Set<string>();
    try {
      for (const one of given) {
        const { name, dtype, dims, fill, isPassing } = one;
        const place = kept?.place(name, byteLength(dtype, countOf(dims)));
        if (place) {
          places.set(name, place);
          continue;
        }
        let value = made.get(name);
        if (!value && fill) {
          value = Value.zeros(dtype, dims);
          own.push(value);
          await fillFrom(one, bind, value.bytes());
          if (!isPassing) {
            made.set(name, value);
            own.pop();
          }
        } else if (!value) {
          value = await bind[name]?.present();
          value?.hold();
          if (value) held.push(value);
          if (!isPassing) read.add(name);
        }
        if (value) (isPassing ? passing : initializers)[name] = value;
      }
      const config = { ...this.#options.config, ...(kept && { [FILES_FOLDER]: kept.folder }) };
      const options = { ...this.#options, config, initializers, passing, prepackedWeights };
      return await Session.open(lowered.encode(places), options);
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

  /** Files of the weights; undefined where they cannot be made. */
  async #keep(
    folder: string,
    identities: readonly string[],
    lowered: LoweredProgram,
    given: readonly Given[],
    bind: Bound,
  ): Promise<KeptWeights | undefined> {
    try {
      return await KeptWeights.open(folder, identities, ({ config, optimizedModelPath }) =>
        this.#save(folder, lowered, given, bind, {
          ...this.#options,
          config: { ...this.#options.config, ...config },
          optimizedModelPath,
        }),
      );
    } catch {
      // Where files cannot be kept the session is made without; weights that cannot be read say so there.
      return undefined;
    }
  }

  async #save(
    folder: string,
    lowered: LoweredProgram,
    given: readonly Given[],
    bind: Bound,
    options: SessionOptions,
  ): Promise<void> {
    const uses = new Map<string, number>();
    for (const { from } of given) for (const name of from) uses.set(name, (uses.get(name) ?? 0) + 1);
    const values = await scratchArrays(folder, given, async (one, into) => {
      await fillFrom(one, bind, into);
      for (const name of one.from) {
        const left = (uses.get(name) ?? 0) - 1;
        uses.set(name, left);
        if (left === 0) bind[name]?.letGo();
      }
    });
    try {
      (await Session.open(lowered.encode(), { ...options, initializers: values })).release();
    } finally {
      for (const value of Object.values(values)) value.release();
    }
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
