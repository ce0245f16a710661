// lfm train: runs a recipe in a folder, under Ctrl-C.
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import type { Device } from '../liquid/index.ts';
import { planRecipe } from '../train/plan-recipe.node.ts';
import { readRecipe } from '../train/recipe-file.node.ts';
import type { Recipe } from '../train/recipe.ts';
import { isStoredModel } from '../train/recipe-model.ts';
import { parseRecipe, withSteps } from '../train/recipe.ts';
import { LfmError } from '../tensor/error.ts';
import { deviceOption } from './costs.node.ts';
import type { Io } from './io.node.ts';
import { processIo } from './io.node.ts';
import type { EngineFlags } from './options.node.ts';
import { addEngineOptions, engineChoice, meshOf } from './options.node.ts';
import { describePlan } from './plan-report.node.ts';
import { runShown } from './run-shown.node.ts';
import { optionWords, program, quote } from './shell.node.ts';

interface Flags extends EngineFlags {
  readonly data?: readonly string[];
  readonly from?: string;
  readonly teacher?: string;
  readonly out?: string;
  readonly resume?: boolean;
  readonly steps?: number;
  readonly json?: boolean;
  readonly plan?: boolean;
  readonly device?: Device;
}

const helpText = `
Examples:
  lfm train hello --data book.txt            a small model in about a minute
  lfm train hello --data book.txt --resume   after an interruption, go on
  lfm train brook-7m --data books.txt stories.txt --engine xla
  lfm train my-recipe.js --out runs/first --json
  lfm train lfm2-350m --plan --device h100   what it will take; nothing is trained
  lfm distill brook-130m/align --from SmolLM2-135M-Instruct.Q4_1.gguf --data books=books.txt

Exit codes: 0 done, 2 a mistake or a run that failed, 130 interrupted (with a checkpoint).`;

/** Adds `lfm train`, and `lfm distill`, which is the same for recipes with a teacher. */
export function registerTrain(program: Command, io: Io = processIo): void {
  const describedAs = {
    train: 'train a model as a recipe says; checkpoints, metrics and a plot go to runs/NAME',
    distill: 'train a model on a teacher, as a recipe with the objective distill or align says',
  };
  for (const [verb, description] of Object.entries(describedAs)) {
    const command = program.command(verb).description(description);
    addTraining(command, async (name, flags) => {
      const recipe = applyFlags(await readRecipe(name), flags);
      if (verb === 'distill' && recipe.objective.name === 'next-token')
        throw new LfmError(
          'bad-recipe',
          `${recipe.name} has no teacher: expected a recipe with the objective distill or align; "lfm train ${name}" trains it on its text.`,
        );
      return flags.plan ? tellPlan(io, recipe, flags) : run(io, name, recipe, flags);
    });
  }
}

function addTraining(command: Command, action: (name: string, flags: Flags) => Promise<void>): void {
  command
    .argument(
      '<recipe>',
      'a .json, .js or .ts file, or one that ships with lfm: hello, brook-7m, brook-130m/align, brook-130m/distill, brook-130m/finetune, lfm2-350m, liquid-6b',
    )
    .option('--data <file...>', 'text to train on (.txt or .jsonl, plain or .br or .gz), as FILE or SOURCE=FILE')
    .option(
      '--from <model>',
      "begin from this model, in place of the recipe's: a folder, a GGUF file or a shipped name",
    )
    .option('--teacher <model>', "learn from this model, in place of the recipe's (objectives distill and align)")
    .option('--out <dir>', 'the folder of the run (default: runs/NAME)')
    .option('--resume', 'go on from the newest checkpoint')
    .option('--steps <n>', 'train this many steps; warm-up and decay keep their shares', wholeNumber)
    .option('--mesh <axes>', 'devices of the engine xla to divide the training over, as data=2,fsdp=4', meshOf);
  addEngineOptions(command)
    .option('--plan', 'tell memory, arithmetic, collectives and the speed to expect, and train nothing')
    .addOption(deviceOption())
    .addHelpText('after', helpText)
    .action(action);
}

function wholeNumber(value: string): number {
  if (!/^[1-9]\d{0,8}$/.test(value)) throw new InvalidArgumentError('Expected a whole number from 1.');
  return Number(value);
}

function applyFlags(recipe: Recipe, flags: Flags): Recipe {
  const { model, objective } = recipe;
  const { from, teacher } = flags;
  if (from !== undefined && !isStoredModel(model))
    throw new LfmError(
      'bad-flags',
      `--from: ${recipe.name} makes its model anew; expected a recipe whose model has "from".`,
    );
  if (teacher !== undefined && objective.name === 'next-token')
    throw new LfmError(
      'bad-flags',
      `--teacher: ${recipe.name} learns from its text alone; its objective has no teacher.`,
    );
  const chosen = parseRecipe({
    ...recipe,
    model: from === undefined ? model : { ...('replace' in model && { replace: model.replace }), from },
    objective: teacher === undefined ? objective : { ...objective, teacher },
    engine: { ...recipe.engine, ...engineChoice(flags) },
  });
  return flags.steps === undefined ? chosen : withSteps(chosen, flags.steps);
}

async function tellPlan(io: Io, recipe: Recipe, { device, json }: Flags): Promise<void> {
  const plan = await planRecipe(recipe, device ?? {});
  io.stdout.write(json ? `${JSON.stringify(plan, undefined, 2)}\n` : `${describePlan(plan)}\n`);
}

async function run(io: Io, name: string, recipe: Recipe, flags: Flags): Promise<void> {
  const { data, out, resume, json } = flags;
  await runShown(io, recipe, {
    ...(data && { data }),
    ...(out !== undefined && { out }),
    ...(resume && { resume }),
    json,
    resumeCommand: (mesh) => resumeCommand(name, mesh ? { ...flags, mesh } : flags),
  });
}

/** What to type to go on as the run was begun; the text is the one of before. */
function resumeCommand(name: string, { from, teacher, out, engine, threads, plugin, mesh, steps }: Flags): string {
  const axes = mesh && Object.entries(mesh).map(([axis, size]) => `${axis}=${size}`);
  const options = { from, teacher, out, engine, threads, plugin, mesh: axes?.join(), steps };
  return [program(), 'train', quote(name), ...optionWords(options), '--resume'].join(' ');
}
