// lfm pull: a model from the hub, once its size was seen and agreed to. Other commands pull the same way what they miss.
import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import type { CachedModel } from '../files/hub/cache.node.ts';
import { type HubName, parseHubName } from '../files/hub/name.ts';
import { pull, type PullOptions, type PullPlan } from '../files/hub/pull.node.ts';
import { hubSettings } from '../files/hub/settings.node.ts';
import { LfmError } from '../tensor/error.ts';
import { formatBytes, formatTable } from './format.node.ts';
import type { Io } from './io.node.ts';
import { Interrupted, interruptible, isTerminal } from './io.node.ts';
import { Progress } from './progress.node.ts';

/** More than this is not downloaded unasked. */
const UNASKED_BYTES = 2 ** 30;

interface Flags {
  readonly revision?: string;
  readonly file?: string;
  readonly yes?: boolean;
  readonly offline?: boolean;
  readonly json?: boolean;
}

export function registerPull(program: Command, io: Io): void {
  program
    .command('pull')
    .description('download a model from the hub into the cache that other tools share, and print its path')
    .argument('<model>', 'OWNER/NAME')
    .option('--revision <name>', 'a branch, a tag or a commit (default: main)')
    .option('--file <path>', 'one file of it, such as a GGUF, instead of its safetensors')
    .option('--yes', 'do not ask')
    .option('--offline', 'only what was downloaded before')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
The environment decides, as for other tools: HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE.

Examples:
  lfm pull LiquidAI/LFM2-350M
  lfm pull LiquidAI/LFM2-350M-GGUF --file LFM2-350M-Q4_0.gguf --yes`,
    )
    .action(async (text: string, { revision, file, yes = false, offline = false, json }: Flags) => {
      const model = parseHubName(text);
      if (!model) {
        throw new LfmError(
          'hub-name',
          `${JSON.stringify(text)} is no name of the hub: expected OWNER/NAME, such as LiquidAI/LFM2-350M.`,
        );
      }
      const settings = await hubSettings();
      const options = { revision, file, settings: offline ? { ...settings, offline } : settings };
      const { path, commit } = await pullShown(io, model, yes, options);
      io.stdout.write(json ? `${JSON.stringify({ path, commit }, undefined, 2)}\n` : `${path}\n`);
    });
}

/** Downloads with a question, a live line and Ctrl-C. */
export async function pullShown(io: Io, model: HubName, yes: boolean, options: PullOptions = {}): Promise<CachedModel> {
  const name = `${model.owner}/${model.name}`;
  return interruptible(io, async (signal) => {
    let progress: Progress | undefined;
    try {
      return await pull(model, {
        ...options,
        signal,
        confirm: (plan) => yes || agrees(io, name, plan, signal),
        onProgress({ doneBytes, totalBytes }) {
          progress ??= new Progress(io.stderr, `Downloading ${name}, ${formatBytes(totalBytes)}`);
          progress.update(totalBytes > 0 ? doneBytes / totalBytes : 1);
        },
      });
    } finally {
      progress?.end();
    }
  });
}

async function agrees(io: Io, name: string, plan: PullPlan, signal: AbortSignal): Promise<boolean> {
  const { files, totalBytes, missingBytes } = plan;
  const here = totalBytes > missingBytes ? `, ${formatBytes(totalBytes - missingBytes)} of it here already` : '';
  if (!isTerminal(io)) {
    if (missingBytes <= UNASKED_BYTES) return true;
    throw new LfmError(
      'hub-ask',
      `${name} is ${formatBytes(totalBytes)}${here}: without a terminal to ask on, "lfm pull ${name} --yes" downloads it.`,
    );
  }
  io.stdout.write(
    formatTable(
      ['file', 'size'],
      files.map(({ path, bytes }) => [path, formatBytes(bytes)]),
    ),
  );
  const lines = createInterface({ input: io.stdin, output: io.stdout });
  try {
    const answer = await new Promise<string>((resolve, reject) => {
      // The terminal hands Ctrl-C over as a key, and the input may end without an answer.
      lines.on('SIGINT', () => reject(new Interrupted('interrupted')));
      lines.on('close', () => resolve('no'));
      signal.addEventListener('abort', () => reject(new Interrupted('interrupted')));
      lines.question(`Download ${name}: ${formatBytes(totalBytes)}${here}? [Y/n] `, resolve);
    });
    return /^\s*(y(es)?)?\s*$/i.test(answer);
  } finally {
    lines.close();
  }
}
