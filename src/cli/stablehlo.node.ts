// A model's programs as text for other compilers, for lfm convert --to stablehlo.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { toStableHlo } from '../engines/xla/stablehlo.ts';
import { writeFileAtomic } from '../files/atomic.node.ts';
import type { Model } from '../liquid/index.ts';
import { gradientProgram, stepProgram } from '../liquid/index.ts';
import type { ArrayType, Port, Program } from '../tensor/index.ts';
import { trace } from '../tensor/index.ts';
import { inline } from '../tensor/tracer.ts';
import { updatedTypes, updateProgram } from '../train/adamw.ts';

export interface ProgramOptions {
  readonly batch: number;
  /** Tokens a row of the prefill and of the training step. */
  readonly length: number;
  /** Most tokens that the state of a row holds. */
  readonly capacity: number;
  /** Of activations and, where nothing is trained, of weights and state. */
  readonly dtype: 'float32' | 'bfloat16';
}

/** One step of training: gradients and AdamW's update in one program, parameters and moments updated in place. */
function trainingStep(model: Model, { batch, length, dtype }: ProgramOptions): Program {
  const gradients = gradientProgram(model, { batch, length, dtype });
  const update = updateProgram(updatedTypes(model.parameters));
  const types: Record<string, ArrayType> = {};
  for (const { name, value } of [...update.inputs, ...gradients.inputs])
    if (!name.startsWith('gradient.')) types[name] = { dtype: value.dtype, shape: value.shape };
  return trace(
    'training_step',
    types,
    (given) => {
      const run = (program: Program, known: typeof given) =>
        Object.fromEntries(
          inline(
            program,
            program.inputs.flatMap(({ name }) => known[name] ?? []),
          ).map((tensor, index) => [program.outputs[index]?.name ?? '', tensor]),
        );
      const found = run(gradients, given);
      const { loss } = found;
      return { ...(loss && { loss }), ...run(update, { ...given, ...found }) };
    },
    { donations: update.donations },
  );
}

/** Writes the texts and what names their ports; answers the files' paths. */
export async function writePrograms(
  out: string,
  name: string,
  model: Model,
  options: ProgramOptions,
): Promise<string[]> {
  const { batch, length, capacity, dtype } = options;
  const programs: Readonly<Record<string, () => Program>> = {
    prefill: () => stepProgram(model, { batch, length, capacity, dtype }),
    decode: () => stepProgram(model, { batch, length: 1, capacity, dtype }),
    'training-step': () => trainingStep(model, options),
  };
  await mkdir(out, { recursive: true });
  const paths: string[] = [];
  const described: Record<string, unknown> = {};
  const write = async (file: string, text: string) => {
    const path = join(out, file);
    await writeFileAtomic(path, text);
    paths.push(path);
  };
  for (const [key, make] of Object.entries(programs)) {
    const program = make();
    const { text, aliases } = toStableHlo(program);
    const file = `${key}.mlir`;
    await write(file, text);
    described[key] = { file, inputs: program.inputs.map(port), outputs: program.outputs.map(port), inPlace: aliases };
  }
  // Last, so that what it names is there.
  await write('programs.json', `${JSON.stringify({ model: name, ...options, programs: described }, undefined, 2)}\n`);
  return paths;
}

function port({ name, value: { dtype, shape } }: Port) {
  return { name, dtype, shape };
}
