// The reference engine: plain TypeScript with float64 sums. The oracle of the tests, and nothing else.
import type { NDArray } from '../../tensor/array.ts';
import { fromHost, newArray, toHost } from '../../tensor/array.ts';
import { evaluateProgram } from '../../tensor/evaluate.ts';
import type { DType, HostArray, Program } from '../../tensor/index.ts';
import { byteLength, LfmError } from '../../tensor/index.ts';
import { checkBox, copyBox } from '../copy.ts';
import type { Box, Buffer, Buffers, CompileOptions, Engine, Executable } from '../engine.ts';

class ReferenceBuffer implements Buffer {
  private contents: NDArray | undefined;
  private readonly owner: Set<ReferenceBuffer>;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly byteLength: number;

  constructor(owner: Set<ReferenceBuffer>, array: NDArray) {
    this.owner = owner;
    this.contents = array;
    this.dtype = array.dtype;
    this.shape = array.shape;
    this.byteLength = byteLength(array.dtype, array.data.length);
    owner.add(this);
  }

  get array(): NDArray {
    if (!this.contents) throw new LfmError('disposed-buffer', 'A buffer was used after it was disposed or donated.');
    return this.contents;
  }

  dispose(): void {
    this.contents = undefined;
    this.owner.delete(this);
  }
}

function arrayOf(buffer: Buffer | undefined, name: string): NDArray {
  if (buffer instanceof ReferenceBuffer) return buffer.array;
  throw new LfmError(
    'bad-input',
    `Input "${name}" expects a buffer of the reference engine; found ${buffer ? 'another engine’s' : 'none'}.`,
  );
}

export function referenceEngine(): Engine {
  const live = new Set<ReferenceBuffer>();
  return {
    name: 'reference',
    description: 'reference (TypeScript, float64 sums)',
    async compile(program: Program, { bind = {} }: CompileOptions = {}): Promise<Executable> {
      return {
        async run(inputs: Buffers) {
          const unknown = Object.keys(inputs).find((name) => !program.inputs.some((port) => port.name === name));
          if (unknown !== undefined) throw new LfmError('bad-input', `${program.name} has no input "${unknown}".`);
          const arrays = program.inputs.map(({ name }) => arrayOf(inputs[name] ?? bind[name], name));
          const outputs = evaluateProgram(program, arrays);
          for (const name of Object.keys(program.donations)) inputs[name]?.dispose();
          return Object.fromEntries(
            program.outputs.map(({ name }, index) => {
              const array = outputs[index];
              if (!array) throw new LfmError('no-result', `${program.name} gave no output "${name}".`);
              return [name, new ReferenceBuffer(live, array)];
            }),
          );
        },
        release() {},
      };
    },
    async upload(dtype: DType, shape: readonly number[], data: HostArray) {
      return new ReferenceBuffer(live, fromHost(dtype, shape, data));
    },
    async download(buffer: Buffer) {
      return toHost(arrayOf(buffer, 'download'));
    },
    async zeros(dtype: DType, shape: readonly number[]) {
      return new ReferenceBuffer(live, newArray(dtype, shape));
    },
    async copy(from: Buffer, to: Buffer, box: Box) {
      checkBox(from, to, box);
      copyBox(arrayOf(from, 'copy').data, from.shape, arrayOf(to, 'copy').data, to.shape, box);
    },
    live: () => ({ buffers: live.size, bytes: [...live].reduce((total, buffer) => total + buffer.byteLength, 0) }),
    async close() {
      for (const buffer of live) buffer.dispose();
    },
  };
}
