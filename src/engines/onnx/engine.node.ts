// The onnx engine on Node: lowered programs as ONNX Runtime sessions, buffers as tensors over pooled memory.
import type { ArrayType, DType, HostArray, Program } from '../../tensor/index.ts';
import {
  bindShapes,
  byteLength,
  countOf,
  evaluateShape,
  hashProgram,
  LfmError,
  viewHostArray,
} from '../../tensor/index.ts';
import { checkBox, copyBox } from '../copy.ts';
import type { Box, Buffer, Buffers, CompileOptions, Engine, Executable } from '../engine.ts';
import type { LoweredProgram } from './lower.ts';
import { lower } from './lower.ts';
import type { Binding, ProviderName, SessionOptions } from './runtime.node.ts';
import { library, Session, Value } from './runtime.node.ts';

export interface OnnxOptions {
  /** Threads within an operation; default: one for each physical core. */
  readonly threads?: number;
  readonly provider?: ProviderName;
  /** Further settings of every session, such as a profile's path. */
  readonly session?: SessionOptions;
  /** False: composites are expanded even where a kernel is mapped (to compare the two). */
  readonly mapped?: boolean;
}

/**
 * `basic`: what the higher levels would fuse, the lowering has already placed, and one of them would undo the explicit
 * transposes that make weight gradients faster. ReshapeFusion of 1.30 breaks models with the lowering's barriers.
 */
const sessionDefaults: SessionOptions = {
  optimization: 'basic',
  config: { 'optimization.disable_specified_optimizers': 'ReshapeFusion' },
  // Planned blocks come on top of what the first, unplanned run took: half as much memory again for a training step.
  memoryPattern: false,
};

/** Idle memory kept for the next run, so that a step touches no fresh pages; never more bytes than are in use. */
class Pool {
  private readonly idle = new Map<string, Value[]>();
  private idleBytes = 0;
  liveBytes = 0;
  liveBuffers = 0;

  take(dtype: DType, shape: readonly number[]): Value {
    const value = this.idle.get(poolKey(dtype, shape))?.pop();
    if (value) this.idleBytes -= value.byteLength;
    const taken = value ?? Value.zeros(dtype, shape);
    this.liveBytes += taken.byteLength;
    this.liveBuffers++;
    return taken;
  }

  give(value: Value): void {
    this.liveBytes -= value.byteLength;
    this.liveBuffers--;
    if (this.idleBytes + value.byteLength > this.liveBytes) return value.release();
    const key = poolKey(value.dtype, value.shape);
    const list = this.idle.get(key);
    if (list) list.push(value);
    else this.idle.set(key, [value]);
    this.idleBytes += value.byteLength;
  }

  clear(): void {
    for (const list of this.idle.values()) for (const value of list) value.release();
    this.idle.clear();
    this.idleBytes = 0;
  }
}

function poolKey(dtype: DType, shape: readonly number[]): string {
  return `${dtype}[${shape.join(',')}]`;
}

class OnnxBuffer implements Buffer {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly byteLength: number;
  private readonly pool: Pool;
  private held: Value | undefined;

  constructor(pool: Pool, value: Value) {
    this.pool = pool;
    this.held = value;
    this.dtype = value.dtype;
    this.shape = value.shape;
    this.byteLength = value.byteLength;
  }

  get value(): Value {
    if (!this.held) throw new LfmError('disposed-buffer', 'A buffer was used after it was disposed or donated.');
    return this.held;
  }

  /** Gives the tensor up without freeing it: it lives on in another buffer. */
  surrender(): Value {
    const { value } = this;
    this.held = undefined;
    return value;
  }

  dispose(): void {
    if (this.held) this.pool.give(this.surrender());
  }
}

interface SharedSession {
  readonly session: Session;
  users: number;
}

class OnnxExecutable implements Executable {
  private readonly lowered: LoweredProgram;
  private readonly pool: Pool;
  private readonly binding: Binding;
  private readonly ports: readonly { readonly name: string; readonly slot: number; readonly type: ArrayType }[];
  /** Inputs that a run may be given: bound ones are fixed. */
  private readonly names: ReadonlySet<string>;
  private readonly onRelease: () => void;
  private last: Promise<unknown> = Promise.resolve();
  private released = false;

  constructor(
    lowered: LoweredProgram,
    session: Session,
    pool: Pool,
    bound: ReadonlySet<string>,
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
    this.binding = session.bind(
      free.map(({ id }) => id),
      lowered.outputs,
    );
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
    const given = new Map<string, OnnxBuffer>();
    const unknown = Object.keys(inputs).find((name) => !this.names.has(name));
    if (unknown !== undefined) throw new LfmError('bad-input', `${program.name} has no input "${unknown}".`);
    for (const { name, type } of this.ports) {
      const buffer = inputs[name];
      if (!(buffer instanceof OnnxBuffer) || buffer.dtype !== type.dtype) throw this.misfit(name, type, buffer);
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
    const values = new Map([...given].map(([name, buffer]) => [name, buffer.value]));
    for (const { name, slot } of this.ports) {
      const value = values.get(name);
      if (value) this.binding.setInput(slot, value);
    }
    const passedOn = new Map(Object.entries(inPlace).map(([input, output]) => [output, input]));
    const fresh: Value[] = [];
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
    return Object.fromEntries(outputs.map(({ name, value }) => [name, new OnnxBuffer(this.pool, value)]));
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

function boundValues(bind: Buffers): Record<string, Value> {
  const entries = Object.entries(bind).map(([name, buffer]) => {
    if (!(buffer instanceof OnnxBuffer))
      throw new LfmError('bad-input', `Bound input "${name}" expects a buffer of the onnx engine.`);
    return [`in:${name}`, buffer.value] as const;
  });
  return Object.fromEntries(entries);
}

/** Loads ONNX Runtime. Errors: `onnx-…` where the library is missing, of another version, or lacks the provider. */
export async function onnxEngine(options: OnnxOptions = {}): Promise<Engine> {
  const { threads = 0, provider = 'cpu', session: extra = {}, mapped = true } = options;
  const { version } = library();
  const pool = new Pool();
  const shared = new Map<string, Promise<SharedSession>>();

  const open = async (lowered: LoweredProgram, initializers: Record<string, Value>): Promise<Session> =>
    Session.open(lowered.model, { ...sessionDefaults, intraOpThreads: threads, provider, initializers, ...extra });

  return {
    name: 'onnx',
    description: `onnx (ONNX Runtime ${version}, ${provider}, ${threads || 'all'} threads)`,
    async compile(program: Program, { bind = {} }: CompileOptions = {}): Promise<Executable> {
      const bound = new Set(Object.keys(bind));
      if (bound.size) {
        // Weights are laid out anew for their kernels, so this session is this executable's alone.
        const lowered = lower(program, bound, mapped);
        const session = await open(lowered, boundValues(bind));
        return new OnnxExecutable(lowered, session, pool, bound, () => session.release());
      }
      const lowered = lower(program, bound, mapped);
      const key = `${await hashProgram(program)} ${JSON.stringify(program.donations)}`;
      let entry = shared.get(key);
      if (!entry) {
        entry = open(lowered, {}).then((session) => ({ session, users: 0 }));
        shared.set(key, entry);
        entry.catch(() => shared.delete(key));
      }
      const sharedSession = await entry;
      sharedSession.users++;
      return new OnnxExecutable(lowered, sharedSession.session, pool, bound, () => {
        if (--sharedSession.users > 0) return;
        shared.delete(key);
        sharedSession.session.release();
      });
    },
    async upload(dtype: DType, shape: readonly number[], data: HostArray) {
      const needed = byteLength(dtype, countOf(shape));
      if (data.byteLength !== needed) {
        throw new LfmError(
          'bad-input',
          `${dtype}[${shape.join(', ')}] takes ${needed} bytes; found ${data.byteLength}.`,
        );
      }
      const value = pool.take(dtype, shape);
      value.bytes().set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      return new OnnxBuffer(pool, value);
    },
    async download(buffer: Buffer): Promise<HostArray> {
      if (!(buffer instanceof OnnxBuffer))
        throw new LfmError('bad-input', 'download expects a buffer of the onnx engine.');
      const bytes = buffer.value.copy();
      return viewHostArray(buffer.dtype, bytes.buffer, bytes.byteOffset, countOf(buffer.shape));
    },
    async zeros(dtype: DType, shape: readonly number[]) {
      const value = pool.take(dtype, shape);
      value.bytes().fill(0);
      return new OnnxBuffer(pool, value);
    },
    async copy(from: Buffer, to: Buffer, box: Box) {
      if (!(from instanceof OnnxBuffer && to instanceof OnnxBuffer))
        throw new LfmError('bad-input', 'copy expects buffers of the onnx engine.');
      checkBox(from, to, box);
      copyBox(from.value.bytes(), from.shape, to.value.bytes(), to.shape, box, byteLength(from.dtype, 1));
    },
    live: () => ({ buffers: pool.liveBuffers, bytes: pool.liveBytes }),
    async close() {
      pool.clear();
    },
  };
}
