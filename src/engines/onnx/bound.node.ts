// Sessions whose weights are bound. One is given what its kernels read in place for as long as it lives, and what they lay out anew
// only while it is made; those over the same weights share what was laid out, and what was made of the weights to be read.
import type { OnnxBuffer } from './buffer.ts';
import type { LoweredProgram } from './lower.ts';
import type { SessionOptions } from './options.node.ts';
import { PrepackedWeights } from './prepacked.node.ts';
import { laysOut } from './probe.node.ts';
import type { Reading } from './repacked.ts';
import type { RuntimeSession } from './runtime.ts';
import { Session } from './session.node.ts';
import { Value } from './value.node.ts';

/** What the sessions over one set of weights have in common. */
interface Shared {
  readonly prepackedWeights: PrepackedWeights;
  /** Initializers made of the weights that kernels read in place, by name. */
  readonly made: Map<string, Value>;
  sessions: number;
}

/** Opens such sessions; the first of a program's buffers tells which weights they are. */
export class BoundSessions {
  readonly #options: SessionOptions;
  readonly #shared = new WeakMap<OnnxBuffer<Value>, Shared>();

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  /** `bind`: buffers by the names of their initializers. Errors: those of reading weights again and of `Session.open`. */
  async open(
    lowered: LoweredProgram,
    bind: Readonly<Record<string, OnnxBuffer<Value>>>,
  ): Promise<RuntimeSession<Value>> {
    const [first] = Object.values(bind);
    const known = first && this.#shared.get(first);
    const shared: Shared = known ?? { prepackedWeights: new PrepackedWeights(), made: new Map(), sessions: 0 };
    if (first) this.#shared.set(first, shared);
    shared.sessions++;
    const leave = () => {
      if (--shared.sessions > 0) return;
      if (first) this.#shared.delete(first);
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
        },
      };
    } catch (error) {
      leave();
      throw error;
    }
  }

  async #open(
    { model, readings, derived }: LoweredProgram,
    bind: Readonly<Record<string, OnnxBuffer<Value>>>,
    { prepackedWeights, made }: Shared,
  ): Promise<Session> {
    const passes = (reading: Reading | undefined) =>
      reading?.how === 'laid-out' && reading.by.every((node) => laysOut(node, this.#options));
    const wanting = derived.filter(({ name }) => !made.has(name));
    const wanted = new Set([...readings.keys(), ...wanting.flatMap(({ from }) => from)]);
    const given: { readonly name: string; readonly buffer: OnnxBuffer<Value>; readonly value: Value }[] = [];
    const passing: Record<string, Value> = {};
    const initializers: Record<string, Value> = {};
    try {
      for (const [name, buffer] of Object.entries(bind)) {
        if (!wanted.has(name)) continue;
        const value = await buffer.present();
        value.hold();
        given.push({ name, buffer, value });
        const reading = readings.get(name);
        if (reading) (passes(reading) ? passing : initializers)[name] = value;
      }
      const bytesOf = (wantedName: string): Uint8Array =>
        given.find(({ name }) => name === wantedName)?.value.bytes() ?? new Uint8Array();
      for (const { name, dtype, dims, from, fill } of derived) {
        const isPassing = passes(readings.get(name));
        const value = (isPassing ? undefined : made.get(name)) ?? Value.zeros(dtype, dims);
        (isPassing ? passing : initializers)[name] = value;
        if (made.has(name)) continue;
        if (!isPassing) made.set(name, value);
        fill(value.bytes(), ...from.map(bytesOf));
      }
      return await Session.open(model, { ...this.#options, initializers, passing, prepackedWeights });
    } finally {
      for (const { name } of derived) passing[name]?.release();
      for (const { name, buffer, value } of given) {
        value.letGo();
        const reading = readings.get(name);
        if (reading === undefined || passes(reading)) buffer.letGo();
      }
    }
  }
}
