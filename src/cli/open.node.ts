// Loading a model for a command: with progress, under Ctrl-C, and given back whatever happens.
import type { LoadOptions } from '../generate/load.ts';
import { load } from '../generate/load.ts';
import type { LanguageModel } from '../generate/model.ts';
import { missingFromHub } from '../generate/source.node.ts';
import type { Io } from './io.node.ts';
import { interruptible } from './io.node.ts';
import type { LoadFlags } from './options.node.ts';
import { engineChoice } from './options.node.ts';
import { Progress } from './progress.node.ts';
import { pullShown } from './pull.node.ts';

export async function withModel<T>(
  io: Io,
  name: string,
  flags: LoadFlags,
  use: (model: LanguageModel, signal: AbortSignal) => Promise<T>,
  options: Omit<LoadOptions, 'engine' | 'signal' | 'onProgress'> = {},
): Promise<T> {
  const missing = await missingFromHub(name);
  if (missing) await pullShown(io, missing, false);
  const model = await interruptible(io, async (signal) => {
    const progress = new Progress(io.stderr, `Loading ${name}`);
    try {
      return await load(name, {
        ...options,
        engine: engineChoice(flags),
        numerics: flags.numerics,
        signal,
        onNotice: (line) => io.stderr.write(`${line}\n`),
        onProgress: ({ loadedBytes, totalBytes }) => progress.update(loadedBytes / totalBytes),
      });
    } finally {
      progress.end();
    }
  });
  try {
    return await interruptible(io, (signal) => use(model, signal));
  } finally {
    await model[Symbol.asyncDispose]();
  }
}
