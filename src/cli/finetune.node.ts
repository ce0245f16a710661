// lfm finetune: an adapter of any model, trained on a user's own text.
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { finetuneRecipe } from '../train/finetune.node.ts';
import { withSteps } from '../train/recipe.ts';
import type { Io } from './io.node.ts';
import type { EngineFlags } from './options.node.ts';
import { addEngineOptions, engineChoice, positive } from './options.node.ts';
import { runShown } from './run-shown.node.ts';
import { optionWords, program, quote } from './shell.node.ts';

interface Flags extends EngineFlags {
  readonly out?: string;
  readonly resume?: boolean;
  readonly rank?: number;
  readonly alpha?: number;
  readonly learningRate?: number;
  readonly length?: number;
  readonly steps?: number;
  readonly minutes: number;
  readonly epochs: number;
  readonly prompt?: string;
  readonly json?: boolean;
}

const helpText = `
FILE is text (.txt, or .jsonl of {"text": "…"}) or chats (.jsonl of {"messages": [{"role": "user", "content": "…"}, …]}), of which
the assistant's turns count, in the model's own template. The model stays as it is; what is trained is a LoRA adapter, which goes to
OUT/final as peft stores it, and checkpoints to OUT/step-N. A tenth of the text is held out: its loss is measured before and after.

Examples:
  lfm finetune brook-123m notes.txt
  lfm finetune brook-123m chat.jsonl --out runs/mine --minutes 20
  lfm finetune brook-123m notes.txt --resume      after an interruption, go on
  lfm generate brook-123m --adapter runs/brook-123m-notes/final "Today"
  lfm chat brook-123m --adapter runs/mine/final   or lfm start, for the playground

Exit codes: 0 done, 2 a mistake or a run that failed, 130 interrupted (with a checkpoint).`;

function amount(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value > 0 && Number.isFinite(value)) return value;
  throw new InvalidArgumentError('Expected a number above 0.');
}

/** Adds `lfm finetune`. */
export function registerFinetune(command: Command, io: Io): void {
  addEngineOptions(
    command
      .command('finetune')
      .description('train a LoRA adapter of a model on your own text or chats, in about ten minutes on two cores')
      .argument('<model>', 'a shipped name, a folder, a GGUF file, or OWNER/NAME of the hub that was pulled')
      .argument('<file>', 'text (.txt, .jsonl) or chats (.jsonl), plain or .br or .gz')
      .option('--out <dir>', 'the folder of the run (default: runs/MODEL-FILE)')
      .option('--resume', 'go on from the newest checkpoint')
      .option('--minutes <n>', 'stop after about so many: the number of steps follows how fast they go', amount, 10)
      .option('--epochs <n>', 'see the text at most so many times', amount, 4)
      .option('--steps <n>', 'train so many steps, in place of --minutes and --epochs', positive)
      .option('--rank <n>', 'rank of the changes (default: 8)', positive)
      .option('--alpha <n>', 'what they count: alpha / rank (default: twice the rank)', amount)
      .option('--learning-rate <n>', 'the peak (default: 0.003)', amount)
      .option('--length <n>', 'tokens a row (default: 256 of text, 512 of chats)', positive)
      .option('--prompt <text>', 'what the model is given before and after (default: how the file begins)'),
  )
    .addHelpText('after', helpText)
    .action(async (model: string, file: string, flags: Flags) => {
      const { out, resume, steps, minutes, epochs, json } = flags;
      const most = await finetuneRecipe(model, file, { ...flags, engine: engineChoice(flags) });
      await runShown(io, steps === undefined ? most : withSteps(most, steps), {
        ...(out !== undefined && { out }),
        ...(resume && { resume }),
        ...(steps === undefined && { within: { minutes, epochs } }),
        json,
        isBrief: true,
        resumeCommand: () => resumeCommand(model, file, flags),
      });
    });
}

/** What to type to go on as the run was begun. Its number of steps is the checkpoint's. */
function resumeCommand(model: string, file: string, flags: Flags): string {
  const { out, rank, alpha, learningRate, length, steps, prompt, engine, threads, plugin } = flags;
  const options = { out, rank, alpha, 'learning-rate': learningRate, length, steps, prompt, engine, threads, plugin };
  return [program(), 'finetune', quote(model), quote(file), ...optionWords(options), '--resume'].join(' ');
}
