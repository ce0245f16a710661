// The onnx engine, whatever runs its models: lowered programs as sessions, buffers as tensors over pooled memory.
import type { ArrayType, DType, HostArray, Program } from '../../tensor/index.ts';
import { bindShapes, byteLength, evaluateShape, hashProgram, LfmError } from '../../tensor/index.ts';
import { checkBox, copyBox } from '../copy.ts';
import type { Box, Buffer, Buffers, CompileOptions, Engine, Executable } from '../engine.ts';
import type { OnnxBuffer } from './buffer.ts';
import { filled, Pool } from './buffer.ts';
import type { LoweredProgram } from './lower.ts';
import { lower } from './lower.ts';
import type { Runtime, RuntimeBinding, RuntimeSession, RuntimeTensor } from './runtime.ts';

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
  private last: Promise<unknown> = Promise.resolve();
  private released = false;

  constructor(
    lowered: LoweredProgram,
    session: RuntimeSession<T>,
    pool: Pool<T>,
    bound: ReadonlySet<string>,
    /** Weights that the session does not hold. */
    beside: Readonly<Record<string, OnnxBuffer<T>>>,
    onRelease: () => void,
  ) {
    this.lowered = lowered;
    this.pool = pool;
    this.onRelease = onRelease;
    const free = lowered.program.inputs
      .map(({ name, value }, index) => ({ name, type: value, id: lowered.inputs[index] ?? '' }))
      .filter(({ name }) => !bound.has(name) || name in beside);
    this.ports = free.map(({ name, type }, slot) => ({ name, type, slot })).filter(({ name }) => !bound.has(name));
    this.names = new Set(this.ports.map(({ name }) => name));
    this.binding = session.bind(
      free.map(({ id }) => id),
      lowered.outputs,
    );
    for (const [slot, { name }] of free.entries()) {
      const weight = beside[name];
      if (weight) this.binding.setInput(slot, weight.value);
    }
  }

  run(inputs: Buffers): Promise<Record<string, Buffer>> {
    const turn = this.last.then(() => this.runNow(inputs));
    this.last = turn.catch(() => undefined);
    return turn;
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
    for (const [name, buffer] of given) values.set(name, buffer.again ? await buffer.present() : buffer.value);
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
    void this.last.then(() => {
      this.binding.dispose();
      this.onRelease();
    });
  }
}

function boundBuffers<T extends RuntimeTensor>(pool: Pool<T>, bind: Buffers): Record<string, OnnxBuffer<T>> {
  const entries = Object.entries(bind).map(([name, buffer]) => {
    const found = pool.find(buffer);
    if (!found) throw new LfmError('bad-input', `Bound input "${name}" expects a buffer of the onnx engine.`);
    return [name, found] as const;
  });
  return Object.fromEntries(entries);
}

/** `mapped`: whether composites go to their kernels, where there is one. `onClose`: frees what the runtime took. */
export function engineOver<T extends RuntimeTensor>(
  runtime: Runtime<T>,
  { mapped = true, onClose = () => undefined }: { readonly mapped?: boolean; readonly onClose?: () => void } = {},
): Engine {
  const pool = new Pool(runtime);
  const shared = new Map<string, Promise<SharedSession<T>>>();

  return {
    name: 'onnx',
    description: `onnx (ONNX Runtime ${runtime.description})`,
    async compile(program: Program, { bind = {} }: CompileOptions = {}): Promise<Executable> {
      const weights = boundBuffers(pool, bind);
      const bound = new Set(Object.keys(weights));
      if (runtime.openBound && bound.size > 0) {
        // Weights are laid out anew for their kernels, so this session is this executable's alone.
        const lowered = lower(program, bound, mapped);
        const session = await runtime.openBound(lowered, weights);
        return new OnnxExecutable(lowered, session, pool, bound, {}, () => session.release());
      }
      const lowered = lower(program, new Set(), mapped);
      const key = `${await hashProgram(program)} ${JSON.stringify(program.donations)}`;
      let entry = shared.get(key);
      if (!entry) {
        entry = runtime.open(lowered.model).then((session) => ({ session, users: 0 }));
        shared.set(key, entry);
        entry.catch(() => shared.delete(key));
      }
      const sharedSession = await entry;
      sharedSession.users++;
      return new OnnxExecutable(lowered, sharedSession.session, pool, bound, weights, () => {
        if (--sharedSession.users > 0) return;
        shared.delete(key);
        sharedSession.session.release();
      });
    },
    async upload(dtype: DType, shape: readonly number[], data: HostArray) {
      return pool.buffer(filled(pool, dtype, shape, data));
    },
    ...(runtime.openBound && {
      async uploadStored(
        dtype: DType,
        shape: readonly number[],
        data: HostArray,
        again: () => Promise<HostArray>,
      ): Promise<Buffer> {
        return pool.buffer(filled(pool, dtype, shape, data), again);
      },
    }),
    async download(buffer: Buffer): Promise<HostArray> {
      const found = pool.find(buffer);
      if (!found) throw new LfmError('bad-input', 'download expects a buffer of the onnx engine.');
      return found.copy();
    },
    async zeros(dtype: DType, shape: readonly number[]) {
      const value = pool.take(dtype, shape);
      value.bytes().fill(0);
      return pool.buffer(value);
    },
    async copy(from: Buffer, to: Buffer, box: Box) {
      const [source, target] = [pool.find(from), pool.find(to)];
      if (!source || !target) throw new LfmError('bad-input', 'copy expects buffers of the onnx engine.');
      checkBox(from, to, box);
      const size = byteLength(from.dtype, 1);
      copyBox((await source.present()).bytes(), from.shape, target.value.bytes(), to.shape, box, size);
    },
    live: () => ({ buffers: pool.liveBuffers, bytes: pool.liveBytes }),
    async close() {
      pool.clear();
      onClose();
    },
  };
}
