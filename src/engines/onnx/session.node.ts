// Models loaded into ONNX Runtime.

import { LfmError } from '../../tensor/error.ts';
import { Binding } from './binding.node.ts';
import { type Argument, callAsync, library, type NativeFunction, type Pointer, type Status } from './library.node.ts';
import { live } from './memory.node.ts';
import { makeSessionOptions, type SessionOptions } from './options.node.ts';
import type { PrepackedWeights } from './prepacked.node.ts';
import type { Value } from './value.node.ts';

/** A loaded model. Several bindings may run it at the same time. Releasing twice does nothing. */
export class Session {
  readonly #pointer: Pointer;
  /** Initializers and prepacked weights that the runtime uses in place. */
  readonly #kept: readonly (Value | PrepackedWeights)[];
  readonly usesSharedArena: boolean;
  #runs = 0;
  #released = false;

  private constructor(pointer: Pointer, kept: readonly (Value | PrepackedWeights)[], usesSharedArena: boolean) {
    this.#pointer = pointer;
    this.usesSharedArena = usesSharedArena;
    this.#kept = kept;
    live.sessions++;
  }

  /** Loads, optimises and prepares a model (ModelProto bytes), on another thread: the event loop stays free. */
  static async open(model: Uint8Array, options: SessionOptions = {}): Promise<Session> {
    const creation = prepare(model, options);
    try {
      library().check(await callAsync(creation.call, creation.args), 'load the model');
      return new Session(creation.out[0] ?? 0n, creation.kept, options.sharedArena ?? false);
    } catch (error) {
      for (const held of creation.kept) held.letGo();
      throw error;
    } finally {
      library().releases.releaseSessionOptions(creation.options);
    }
  }

  /** The same, holding the calling thread. */
  static openSync(model: Uint8Array, options: SessionOptions = {}): Session {
    const creation = prepare(model, options);
    try {
      library().check(creation.call(...creation.args), 'load the model');
      return new Session(creation.out[0] ?? 0n, creation.kept, options.sharedArena ?? false);
    } catch (error) {
      for (const held of creation.kept) held.letGo();
      throw error;
    } finally {
      library().releases.releaseSessionOptions(creation.options);
    }
  }

  /** Prepares runs that feed `inputs` and fetch `outputs`, by name and in this order. */
  bind(inputs: readonly string[], outputs: readonly string[]): Binding {
    if (this.#released) throw new LfmError('onnx-released', 'Expected a session in use, found a released one.');
    return new Binding(this, inputs, outputs);
  }

  /** Ends measuring and returns the path of the file written; the session must have been given `profilePrefix`. */
  endProfiling(): string {
    const opened = library();
    const session = this.beginRun();
    try {
      const text = opened.pointer('write the profile', (out) =>
        opened.calls.sessionEndProfiling(session, opened.allocator, out),
      );
      return opened.takeString(text);
    } finally {
      this.endRun();
    }
  }

  /** For bindings: the OrtSession*, alive until `endRun`. */
  beginRun(): Pointer {
    if (this.#released) throw new LfmError('onnx-released', 'Expected a session in use, found a released one.');
    this.#runs++;
    return this.#pointer;
  }

  endRun(): void {
    this.#runs--;
    if (this.#released && this.#runs === 0) this.#free();
  }

  /** Frees the session, at once or after the runs in flight. Its bindings are of no use any more. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    live.sessions--;
    if (this.#runs === 0) this.#free();
  }

  [Symbol.dispose](): void {
    this.release();
  }

  #free(): void {
    library().releases.releaseSession(this.#pointer);
    for (const held of this.#kept) held.letGo();
  }
}

interface Creation {
  readonly call: NativeFunction<Status>;
  readonly args: readonly Argument[];
  readonly out: BigUint64Array<ArrayBuffer>;
  readonly options: Pointer;
  readonly kept: readonly (Value | PrepackedWeights)[];
}

function prepare(model: Uint8Array, options: SessionOptions): Creation {
  const opened = library();
  const { calls, environment } = opened;
  const { prepackedWeights } = options;
  const weights = prepackedWeights?.pointer;
  const pointer = makeSessionOptions(opened, options);
  const kept = [...Object.values(options.initializers ?? {}), ...(prepackedWeights ? [prepackedWeights] : [])];
  for (const held of kept) held.hold();
  // Backed by an ArrayBuffer of its own, it stays where it is while another thread writes to it.
  const out = new BigUint64Array(new ArrayBuffer(8));
  const first = [environment, model, model.byteLength, pointer] as const;
  const call = weights ? calls.createSessionFromArrayWithPrepackedWeights : calls.createSessionFromArray;
  const args = weights ? [...first, weights, out] : [...first, out];
  return { call, args, out, options: pointer, kept };
}
