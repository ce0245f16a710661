// The command line as a whole: its commands, and what becomes of errors.
import { Command, CommanderError } from 'commander';
import { findPackage } from '../host/package.node.ts';
import { LfmError } from '../tensor/error.ts';
import { registerBenchmark } from './benchmark.node.ts';
import { registerCatalog } from './catalog.node.ts';
import { registerCompare } from './compare.node.ts';
import { registerConvert } from './convert.node.ts';
import { registerData } from './data.node.ts';
import { registerEngines } from './engines.node.ts';
import { registerEvaluate } from './evaluate.node.ts';
import { registerFinetune } from './finetune.node.ts';
import { registerChat, registerGenerate, registerStart } from './generate.node.ts';
import { importOperators } from './import.node.ts';
import { registerInspect } from './inspect.node.ts';
import type { Io } from './io.node.ts';
import { Interrupted } from './io.node.ts';
import { registerPull } from './pull.node.ts';
import { registerPlot } from './plot.node.ts';
import { registerQuantize } from './quantize.node.ts';
import { registerServe } from './serve.node.ts';
import { registerTrain } from './train.node.ts';

/** Runs one command line, without the names of Node and of the script. Answers the exit code: 0, 2 for a user's mistake, 130 for Ctrl-C. */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  try {
    await (await createProgram(io)).parseAsync([...argv], { from: 'user' });
    return 0;
  } catch (error) {
    return explain(error, io);
  }
}

async function createProgram(io: Io): Promise<Command> {
  const { version } = await findPackage();
  const program = new Command('lfm')
    .description('Liquid Foundation Models: design, train, generate.')
    .version(version)
    .option(
      '--import <file>',
      'run a module and know the operators it exports; may be repeated',
      (file: string, files: readonly string[]) => [...files, file],
      [],
    )
    .hook('preAction', async (command) => {
      for (const file of command.opts<{ readonly import: readonly string[] }>().import) await importOperators(file);
    })
    .exitOverride()
    .configureOutput({ writeOut: (text) => io.stdout.write(text), writeErr: (text) => io.stderr.write(text) })
    .showHelpAfterError('(--help shows what there is)');
  registerStart(program, io);
  registerGenerate(program, io);
  registerChat(program, io);
  registerTrain(program, io);
  registerFinetune(program, io);
  registerPlot(program, io);
  registerInspect(program, io);
  registerCatalog(program, io);
  registerCompare(program, io);
  registerPull(program, io);
  registerConvert(program, io);
  registerQuantize(program, io);
  registerData(program, io);
  registerEvaluate(program, io);
  registerBenchmark(program, io);
  registerEngines(program, io);
  registerServe(program, io);
  return program;
}

function explain(error: unknown, io: Io): number {
  if (error instanceof Interrupted) return 130;
  // Commander has said what is wrong.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof LfmError) {
    io.stderr.write(`lfm: ${error.message}\n`);
    return 2;
  }
  io.stderr.write(
    `lfm failed in a way that it should not; please report this.\n${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  return 1;
}
