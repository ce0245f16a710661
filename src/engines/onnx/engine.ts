// The onnx engine, whatever runs its models: lowered programs as sessions, buffers as tensors over pooled memory.
import type { ArrayType, DType, HostArray, Program } from '../../tensor/index.ts';
import { bindShapes, byteLength, evaluateShape, hashProgram, LfmError } from '../../tensor/index.ts';
import { checkBox, copyBox } from '../copy.ts';
import type { Box, Buffer, Buffers, CompileOptions, Engine, Executable } from '../engine.ts';
import { inTurn } from '../in-turn.ts';
import type { LoweredProgram } from './lower.ts';
import { lower } from './lower.ts';
import type { Derived } from './lowering.ts';
import type { OnnxBuffer } from './buffer.ts';
import { filled, Pool } from './buffer.ts';
import type { Runtime, RuntimeBinding, RuntimeSession, RuntimeTensor } from './runtime.ts';

/** Weights in the forms that products ask for, made once for all programs that are given the same weights. */
class Forms<T extends RuntimeTensor> {
  private readonly runtime: Runtime<T>;
  private readonly made = new Map<OnnxBuffer<T>, Map<string, { readonly value: T; users: number }>>();

  constructor(runtime: Runtime<T>) {
    this.runtime = runtime;
  }

  /** `given`: weights by their names in the model. Give each back with `release`. Errors: those of reading weights again. */
  async take({ name, dtype, dims, from, fill }: Derived, given: Readonly<Record<string, OnnxBuffer<T>>>): Promise<T> {
    const sources = from.flatMap((source) => given[source] ?? []);
    const [first] = sources;
    if (!first) throw new LfmError('bad-input', `${name} is made of weights that are not bound.`);
    const forms = this.made.get(first) ?? new Map<string, { readonly value: T; users: number }>();
    this.made.set(first, forms);
    let form = forms.get(name);
    if (!form) {
      // In memory first, all of them: memory may move when one is read.
      const present: (T | Uint8Array)[] = [];
      for (const source of sources) {
        const tensor = await source.present();
        present.push(tensor.bytes ? tensor : await tensor.copy());
      }
      const value = this.runtime.zeros(dtype, dims, true);
      const bytesOf = (one: T | Uint8Array) => (one instanceof Uint8Array ? one : (one.bytes?.() ?? new Uint8Array()));
      value.write((into) => fill(into, ...present.map(bytesOf)));
      forms.set(name, (form = { value, users: 0 }));
    }
    form.users++;
    return form.value;
  }

  release(values: ReadonlySet<T>): void {
    for (const [first, forms] of this.made) {
      for (const [name, form] of forms) {
        if (!values.has(form.value) || --form.users > 0) continue;
        form.value.release();
        forms.delete(name);
      }
      if (forms.size === 0) this.made.delete(first);
    }
  }
}

interface SharedSession<T extends RuntimeTensor> {
  readonly session: RuntimeSession<T>;
  users: number;
}

class OnnxExecutable<T extends RuntimeTensor> implements Executable {
  private readonly lowered: LoweredProgram;
  private readonly pool: Pool<T>;
  private readonly binding: RuntimeBinding<T>;
  private readonly ports: readonly { readonly name: string; readonly slot: number; readonly type: ArrayType }[];
  /** Inputs that a run may be given: bound ones are fixed. */
  private readonly names: ReadonlySet<string>;
  private readonly onRelease: () => void;
  private readonly inTurn = inTurn();
  private released = false;

  constructor(
    lowered: LoweredProgram,
    session: RuntimeSession<T>,
    pool: Pool<T>,
    bound: ReadonlySet<string>,
    weights: Readonly<Record<string, T>>,
    onRelease: () => void,
  ) {
    this.lowered = lowered;
    this.pool = pool;
    this.onRelease = onRelease;
    const free = lowered.program.inputs
      .map(({ name, value }, index) => ({ name, type: value, id: lowered.inputs[index] ?? '' }))
      .filter(({ name }) => !bound.has(name));
    this.ports = free.map(({ name, type }, slot) => ({ name, type, slot }));
    this.names = new Set(this.ports.map(({ name }) => name));
    this.binding = session.bind([...free.map(({ id }) => id), ...Object.keys(weights)], lowered.outputs);
    for (const [index, weight] of Object.values(weights).entries()) this.binding.setInput(free.length + index, weight);
  }

  run(inputs: Buffers): Promise<Record<string, Buffer>> {
    return this.inTurn(() => this.runNow(inputs));
  }

  private async runNow(inputs: Buffers): Promise<Record<string, Buffer>> {
    if (this.released)
      throw new LfmError('released-executable', `${this.lowered.program.name} was run after it was released.`);
    const { program, inPlace } = this.lowered;
    const bindings: Record<string, number> = {};
    const given = new Map<string, OnnxBuffer<T>>();
    const unknown = Object.keys(inputs).find((name) => !this.names.has(name));
    if (unknown !== undefined) throw new LfmError('bad-input', `${program.name} has no input "${unknown}".`);
    for (const { name, type } of this.ports) {
      const buffer = this.pool.find(inputs[name]);
      if (!buffer || buffer.dtype !== type.dtype) throw this.misfit(name, type, inputs[name]);
      given.set(name, buffer);
    }
    const shapes = this.ports.map(({ type }) => type.shape);
    const misfit =
      this.ports[
        bindShapes(
          shapes,
          [...given.values()].map(({ shape }) => shape),
          bindings,
        )
      ];
    if (misfit) throw this.misfit(misfit.name, misfit.type, inputs[misfit.name]);
    const values = new Map<string, T>();
    for (const [name, buffer] of given) values.set(name, buffer.isPresent ? buffer.value : await buffer.present());
    for (const { name, slot } of this.ports) {
      const value = values.get(name);
      if (value) this.binding.setInput(slot, value);
    }
    const passedOn = new Map(Object.entries(inPlace).map(([input, output]) => [output, input]));
    const fresh: T[] = [];
    const outputs = program.outputs.map(({ name, value: type }, index) => {
      const donated = passedOn.get(name);
      let value = donated === undefined ? undefined : values.get(donated);
      if (!value) fresh.push((value = this.pool.take(type.dtype, evaluateShape(type.shape, bindings))));
      this.binding.setOutput(index, value);
      return { name, value };
    });
    try {
      await this.binding.runAsync();
    } catch (error) {
      for (const value of fresh) this.pool.give(value);
      throw error;
    }
    for (const name of Object.keys(program.donations)) {
      if (name in inPlace) given.get(name)?.surrender();
      else given.get(name)?.dispose();
    }
    return Object.fromEntries(outputs.map(({ name, value }) => [name, this.pool.buffer(value)]));
  }

  private misfit(name: string, { dtype, shape }: ArrayType, buffer: Buffer | undefined): LfmError {
    const found = buffer ? `${buffer.dtype}[${buffer.shape.join(', ')}]` : 'nothing';
    const expected = `${dtype}[${shape.join(', ')}] on the onnx engine`;
    return new LfmError('bad-input', `${this.lowered.program.name}: input "${name}" is ${expected}; found ${found}.`);
  }

  release(): void {
    if (this.released) return;
    this.released = true;
    void this.inTurn(() => {
      this.binding.dispose();
      this.onRelease();
    });
  }
}

/** By the names of their initializers. */
function boundBuffers<T extends RuntimeTensor>(pool: Pool<T>, bind: Buffers): Record<string, OnnxBuffer<T>> {
  const entries = Object.entries(bind).map(([name, buffer]) => {
    const found = pool.find(buffer);
    if (!found) throw new LfmError('bad-input', `Bound input "${name}" expects a buffer of the onnx engine.`);
    return [`in:${name}`, found] as const;
  });
  return Object.fromEntries(entries);
}

/**
 * `mapped`: whether composites go to their kernels, where there is one. `onClose`: frees what the runtime took. `prefersInt8Rows`: see
 * Engine.
 */
export function engineOver<T extends RuntimeTensor>(
  runtime: Runtime<T>,
  {
    mapped = true,
    onClose = () => undefined,
    prefersInt8Rows = false,
  }: { readonly mapped?: boolean; readonly onClose?: () => void; readonly prefersInt8Rows?: boolean } = {},
): Engine {
  const pool = new Pool(runtime);
  const shared = new Map<string, Promise<SharedSession<T>>>();
  const forms = new Forms(runtime);

  return {
    name: 'onnx',
    description: `onnx (ONNX Runtime ${runtime.description})`,
    prefersInt8Rows,
    async compile(program: Program, { bind = {}, fewRows = false }: CompileOptions = {}): Promise<Executable> {
      const bound = new Set(Object.keys(bind));
      const given = boundBuffers(pool, bind);
      const lowered = lower(program, bound, mapped, runtime.weights, fewRows);
      if (runtime.openBound && bound.size > 0) {
        // Weights are laid out anew for their kernels, so this session is this executable's alone.
        const session = await runtime.openBound(lowered, given);
        return new OnnxExecutable(lowered, session, pool, bound, {}, () => session.release());
      }
      const key = `${await hashProgram(program)} ${JSON.stringify([program.donations, [...bound], fewRows])}`;
      let entry = shared.get(key);
      if (!entry) {
        entry = runtime.open(lowered.encode(), lowered.hostNodes).then((session) => ({ session, users: 0 }));
        shared.set(key, entry);
        entry.catch(() => shared.delete(key));
      }
      const sharedSession = await entry;
      sharedSession.users++;
      const made = new Set<T>();
      const release = () => {
        forms.release(made);
        if (--sharedSession.users > 0) return;
        shared.delete(key);
        sharedSession.session.release();
      };
      try {
        const weights: Record<string, T> = {};
        for (const one of lowered.derived) {
          const form = await forms.take(one, given);
          made.add(form);
          weights[one.name] = form;
        }
        for (const [name, buffer] of Object.entries(given)) {
          if (lowered.readings.has(name)) weights[name] = await buffer.present();
          else buffer.letGo();
        }
        return new OnnxExecutable(lowered, sharedSession.session, pool, bound, weights, release);
      } catch (error) {
        release();
        throw error;
      }
    },
    async upload(dtype: DType, shape: readonly number[], data: HostArray) {
      return pool.buffer(filled(pool, dtype, shape, data));
    },
    async uploadStored(types, stored) {
      return pool.stored(types, stored);
    },
    async download(buffer: Buffer): Promise<HostArray> {
      const found = pool.find(buffer);
      if (!found) throw new LfmError('bad-input', 'download expects a buffer of the onnx engine.');
      return found.copy();
    },
    async zeros(dtype: DType, shape: readonly number[]) {
      return pool.buffer(pool.take(dtype, shape, true));
    },
    async copy(from: Buffer, to: Buffer, box: Box) {
      const [source, target] = [pool.find(from), pool.find(to)];
      if (!source || !target) throw new LfmError('bad-input', 'copy expects buffers of the onnx engine.');
      checkBox(from, to, box);
      const size = byteLength(from.dtype, 1);
      const tensor = await source.present();
      const [memory, into] = [tensor.bytes?.(), target.value.bytes?.()];
      if (memory && into) copyBox(memory, from.shape, into, to.shape, box, size);
      else runtime.copyBox?.(tensor, target.value, box);
    },
    live: () => ({ buffers: pool.liveBuffers, bytes: pool.liveBytes }),
    async close() {
      pool.clear();
      onClose();
    },
  };
}
