// Fresh weights made where they lie, for shapes whose host copies would take gigabytes. Other numbers than `initialise`.
import type { Buffer, Engine, Executable, Sharding } from '../engines/engine.ts';
import type { Model } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import {
  broadcastTo,
  constant,
  countOf,
  full,
  mul,
  randomUniform,
  reshape,
  streamOf,
  sub,
  trace,
} from '../tensor/index.ts';

export interface DeviceWeights {
  /** Undefined for what is no parameter. Uniform, of the spread that the parameter asks for. */
  make(name: string, sharding: Sharding | undefined): Promise<Buffer> | undefined;
  dispose(): void;
}

/** One small program for each shape and initialisation of the model. */
export function deviceWeights(engine: Engine, model: Model, seed: number): DeviceWeights {
  const makers = new Map<string, Promise<Executable>>();

  async function made(name: string, { shape, init }: Model['parameters'][string], sharding?: Sharding) {
    const kind = JSON.stringify([shape, init, sharding?.axes]);
    const program = trace('make', { key: { dtype: 'uint32', shape: [2] } }, ({ key }) => {
      if (!key) return {};
      if ('values' in init) {
        const { values } = init;
        const row = constant('float32', [values.length], Float32Array.from(values));
        return { made: reshape(broadcastTo(row, [countOf(shape) / values.length, values.length]), shape) };
      }
      if ('value' in init) return { made: full('float32', shape, init.value) };
      // A uniform number in [-1/2, 1/2) has the variance 1/12.
      const width = 'uniform' in init ? 2 * init.uniform : init.std * Math.sqrt(12);
      return { made: mul(sub(randomUniform(key, shape), 0.5), width) };
    });
    const maker = makers.get(kind) ?? engine.compile(program, { shardings: sharding ? { made: sharding } : {} });
    makers.set(kind, maker);
    const key = await engine.upload('uint32', [2], Uint32Array.of(seed, streamOf(name)));
    const { made: buffer } = await (await maker).run({ key });
    key.dispose();
    if (!buffer) throw new LfmError('no-result', `No values came for ${name}.`);
    return buffer;
  }

  return {
    make(name, sharding) {
      const parameter = model.parameters[name];
      return parameter && made(name, parameter, sharding);
    },
    dispose() {
      for (const maker of makers.values()) void maker.then((executable) => executable.release());
    },
  };
}
