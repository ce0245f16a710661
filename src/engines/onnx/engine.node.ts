// The onnx engine on Node: lowered programs as ONNX Runtime sessions, buffers as tensors over pooled memory.
import type { ArrayType, DType, HostArray, Program } from '../../tensor/index.ts';
import { bindShapes, byteLength, evaluateShape, hashProgram, LfmError } from '../../tensor/index.ts';
import { checkBox, copyBox } from '../copy.ts';
import type { Box, Buffer, Buffers, CompileOptions, Engine, Executable } from '../engine.ts';
import { openBound } from './bound.node.ts';
import { filled, OnnxBuffer, Pool } from './buffer.node.ts';
import type { LoweredProgram } from './lower.ts';
import { lower } from './lower.ts';
import type { Binding, ProviderName, SessionOptions, Value } from './runtime.node.ts';
import { library, Session } from './runtime.node.ts';

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
    const values = new Map<string, Value>();
    for (const [name, buffer] of given) values.set(name, buffer.again ? await buffer.present() : buffer.value);
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

/** Loads ONNX Runtime. Errors: `onnx-…` where the library is missing, of another version, or lacks the provider. */
export async function onnxEngine(options: OnnxOptions = {}): Promise<Engine> {
  const { threads = 0, provider = 'cpu', session: extra = {}, mapped = true } = options;
  const { version } = library();
  const pool = new Pool();
  const shared = new Map<string, Promise<SharedSession>>();

  const settings: SessionOptions = { ...sessionDefaults, intraOpThreads: threads, provider, ...extra };

  return {
    name: 'onnx',
    description: `onnx (ONNX Runtime ${version}, ${provider}, ${threads || 'all'} threads)`,
    async compile(program: Program, { bind = {} }: CompileOptions = {}): Promise<Executable> {
      const bound = new Set(Object.keys(bind));
      if (bound.size) {
        // Weights are laid out anew for their kernels, so this session is this executable's alone.
        const lowered = lower(program, bound, mapped);
        const session = await openBound(lowered, bind, settings);
        return new OnnxExecutable(lowered, session, pool, bound, () => session.release());
      }
      const lowered = lower(program, bound, mapped);
      const key = `${await hashProgram(program)} ${JSON.stringify(program.donations)}`;
      let entry = shared.get(key);
      if (!entry) {
        entry = Session.open(lowered.model, settings).then((session) => ({ session, users: 0 }));
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
      return new OnnxBuffer(pool, filled(pool, dtype, shape, data));
    },
    async uploadStored(dtype, shape, data, again) {
      return new OnnxBuffer(pool, filled(pool, dtype, shape, data), again);
    },
    async download(buffer: Buffer): Promise<HostArray> {
      if (!(buffer instanceof OnnxBuffer))
        throw new LfmError('bad-input', 'download expects a buffer of the onnx engine.');
      return buffer.copy();
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
      copyBox((await from.present()).bytes(), from.shape, to.value.bytes(), to.shape, box, byteLength(from.dtype, 1));
    },
    live: () => ({ buffers: pool.liveBuffers, bytes: pool.liveBytes }),
    async close() {
      pool.clear();
    },
  };
}
