// Runs of a session: which tensors go in and come out.

import koffi from '../koffi.node.ts';
import { LfmError } from '../../tensor/error.ts';
import { arenaRunOptions } from './arena.node.ts';
import { type Argument, callAsync, library, type Pointer } from './library.node.ts';
import { live } from './memory.node.ts';
import { Value } from './value.node.ts';

/** What a binding needs of a session: to be kept while it runs. */
interface Runnable {
  /** Whether its scratch memory is the arena's that sessions share. */
  readonly usesSharedArena: boolean;
  /** The OrtSession*, alive until `endRun`. */
  beginRun(): Pointer;
  endRun(): void;
}

/**
 * Tensors for a run of a session: names and pointers are encoded once, and a run rewrites nothing.
 *
 * An output slot holds a tensor to write into (it may be an input's too: updated in place), or nothing: then the
 * runtime allocates it at each run, and `take` hands it over. A binding serves one run at a time. It does not keep its
 * tensors: one that was released since is an error at the next run.
 */
export class Binding {
  readonly #session: Runnable;
  readonly #inputNames: readonly string[];
  readonly #outputNames: readonly string[];
  readonly #inputs: (Value | null)[];
  readonly #outputs: (Value | null)[];
  /** Pointers: input names, inputs, output names, outputs; then the names' characters. Outside V8's heap. */
  readonly #table: BigUint64Array<ArrayBuffer>;
  readonly #addresses: readonly [names: Pointer, values: Pointer, outputNames: Pointer, outputs: Pointer];
  #running = false;
  #disposed = false;

  constructor(session: Runnable, inputs: readonly string[], outputs: readonly string[]) {
    this.#session = session;
    this.#inputNames = [...inputs];
    this.#outputNames = [...outputs];
    this.#inputs = inputs.map(() => null);
    this.#outputs = outputs.map(() => null);
    const encoded = [...inputs, ...outputs].map((name) => new TextEncoder().encode(`${name}\0`));
    const slots = 2 * encoded.length;
    const size = encoded.reduce((sum, { length }) => sum + length, slots * 8);
    const memory = new Uint8Array(new ArrayBuffer(Math.ceil(size / 8) * 8));
    const start = koffi.address(memory);
    this.#table = new BigUint64Array(memory.buffer);
    const at = (slot: number) => start + BigInt(slot * 8);
    this.#addresses = [at(0), at(inputs.length), at(2 * inputs.length), at(2 * inputs.length + outputs.length)];
    let offset = slots * 8;
    for (const [i, name] of encoded.entries()) {
      memory.set(name, offset);
      this.#table[i < inputs.length ? i : inputs.length + i] = start + BigInt(offset);
      offset += name.length;
    }
    live.bindings++;
  }

  /** Feeds input `index` (of the names given to `bind`) with a tensor, for all runs from now on. */
  setInput(index: number, value: Value): void {
    this.#check(index, this.#inputNames);
    this.#table[this.#inputNames.length + index] = value.pointer;
    this.#inputs[index] = value;
  }

  /** Writes output `index` into a tensor, or (null, as at first) into one that the runtime allocates at each run. */
  setOutput(index: number, value: Value | null): void {
    this.#check(index, this.#outputNames);
    this.#dropOutput(index);
    this.#table[this.#outputSlot(index)] = value ? value.pointer : 0n;
    this.#outputs[index] = value;
  }

  /**
   * Runs the session on this thread.
   * @throws LfmError with ONNX Runtime's message; in-place outputs may then be half written
   */
  run(): void {
    const opened = library();
    const session = this.#begin();
    try {
      opened.check(opened.calls.run(...this.#arguments(session)), 'run the model');
    } finally {
      this.#running = false;
      this.#session.endRun();
    }
  }

  /** Runs the session on another thread: the event loop stays free. Its tensors, even if released, live until then. */
  async runAsync(): Promise<void> {
    const opened = library();
    const session = this.#begin();
    const held = [...this.#inputs, ...this.#outputs].filter((value) => value !== null);
    for (const value of held) value.hold();
    try {
      opened.check(await callAsync(opened.calls.run, this.#arguments(session), this), 'run the model');
    } finally {
      for (const value of held) value.letGo();
      this.#running = false;
      this.#session.endRun();
      if (this.#disposed) this.#free();
    }
  }

  /** Hands over what the runtime allocated for output `index` in the last run; the caller releases it. */
  take(index: number): Value {
    this.#check(index, this.#outputNames);
    const slot = this.#outputSlot(index);
    const pointer = this.#table[slot] ?? 0n;
    if (this.#outputs[index] || pointer === 0n) {
      const name = this.#outputNames[index];
      throw new LfmError(
        'onnx-no-output',
        `Expected an output '${name}' allocated by the last run, found none to take.`,
      );
    }
    this.#table[slot] = 0n;
    return Value.adopt(pointer);
  }

  /** Frees what was not taken, at once or after the run in flight; a second call does nothing. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    live.bindings--;
    if (!this.#running) this.#free();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #outputSlot(index: number): number {
    return 2 * this.#inputNames.length + this.#outputNames.length + index;
  }

  #arguments(session: Pointer): readonly Argument[] {
    const [inputNames, inputs, outputNames, outputs] = this.#addresses;
    const options = this.#session.usesSharedArena ? arenaRunOptions(this) : null;
    return [session, options, inputNames, inputs, this.#inputs.length, outputNames, this.#outputs.length, outputs];
  }

  /** Checks the slots and empties those the runtime fills. */
  #begin(): Pointer {
    this.#checkIdle();
    for (let i = 0; i < this.#inputs.length; i++) {
      const value = this.#inputs[i];
      if (!value) {
        throw new LfmError(
          'onnx-unbound',
          `Expected a tensor for input '${this.#inputNames[i]}', found none: set it first.`,
        );
      }
      value.checkInUse();
    }
    for (let i = 0; i < this.#outputs.length; i++) {
      const value = this.#outputs[i];
      if (value) value.checkInUse();
      else this.#dropOutput(i);
    }
    const session = this.#session.beginRun();
    this.#running = true;
    return session;
  }

  /** Releases what the runtime allocated for an output and nobody took. */
  #dropOutput(index: number): void {
    const slot = this.#outputSlot(index);
    const pointer = this.#table[slot] ?? 0n;
    if (this.#outputs[index] || pointer === 0n) return;
    library().releases.releaseValue(pointer);
    this.#table[slot] = 0n;
  }

  #check(index: number, names: readonly string[]): void {
    this.#checkIdle();
    if (!Number.isInteger(index) || index < 0 || index >= names.length) {
      throw new LfmError('onnx-slot', `Expected a slot from 0 to ${names.length - 1}, found ${index}.`);
    }
  }

  #checkIdle(): void {
    if (this.#disposed) throw new LfmError('onnx-released', 'Expected a binding in use, found a disposed one.');
    if (this.#running) {
      throw new LfmError('onnx-running', 'Expected an idle binding, found a run in flight: await it, or bind again.');
    }
  }

  #free(): void {
    for (let i = 0; i < this.#outputs.length; i++) this.#dropOutput(i);
  }
}
