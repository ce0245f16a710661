// lfm plot: the losses of several runs side by side, as numbers and as one picture.
import type { Command } from 'commander';
import { writeFileAtomic } from '../files/atomic.node.ts';
import { lossPicture, readLosses } from '../train/plot-runs.node.ts';
import { formatTable } from './format.node.ts';
import type { Io } from './io.node.ts';

interface Flags {
  readonly svg?: string;
  readonly smooth?: boolean;
  readonly title: string;
  readonly json?: boolean;
}

export function registerPlot(program: Command, io: Io): void {
  program
    .command('plot')
    .description('set the losses of training runs side by side')
    .argument('<runs...>', "folders of runs, as lfm train's --out")
    .option('--svg <file>', 'draw the curves into a file')
    .option('--smooth', 'draw running means')
    .option('--title <text>', 'what stands over the picture', 'Loss, nats a token')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  lfm plot runs/hello\n  lfm plot runs/on-onnx runs/on-xla --svg losses.svg\n\nEach run also has a page of its own: plot.html in its folder.',
    )
    .action(async (folders: readonly string[], { svg, smooth = false, title, json }: Flags) => {
      const runs = await readLosses(folders);
      if (svg !== undefined) {
        await writeFileAtomic(svg, lossPicture(runs, title, smooth));
        io.stderr.write(`${svg} holds the curves.\n`);
      }
      if (json) {
        io.stdout.write(`${JSON.stringify(runs, undefined, 2)}\n`);
        return;
      }
      const rows = runs.map(({ name, steps, loss, smoothed }) => [
        name,
        String(steps.at(-1)),
        ...[loss[0], loss.at(-1), smoothed.at(-1)].map((value) => value?.toFixed(4) ?? '-'),
      ]);
      io.stdout.write(formatTable(['run', 'steps', 'first loss', 'last loss', 'running mean'], rows));
    });
}
