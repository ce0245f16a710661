// lfm serve: models over HTTP, in the protocol that OpenAI's clients speak, and the playground.
import { basename, join } from 'node:path';
import type { Command } from 'commander';
import { InvalidArgumentError, Option } from 'commander';
import { findPackage } from '../host/package.node.ts';
import { LfmError } from '../tensor/error.ts';
import { load } from '../generate/load.ts';
import { defaultModel } from '../generate/shipped.node.ts';
import type { ResolvedModel } from '../generate/source.node.ts';
import { missingFromHub, resolveModel } from '../generate/source.node.ts';
import { callMarkers, type ToolCallStyle } from '../generate/tool-calls.ts';
import type { LogEntry } from '../serve/index.ts';
import { serve } from '../serve/index.ts';
import type { Io } from './io.node.ts';
import type { LoadFlags } from './options.node.ts';
import { addLoadOptions, engineChoice } from './options.node.ts';
import { openBrowser, pageAssets } from './page.node.ts';
import { pullShown } from './pull.node.ts';

export type ServeFlags = LoadFlags & {
  readonly host?: string;
  readonly port: number;
  readonly apiKey?: readonly string[];
  readonly allowHost?: readonly string[];
  readonly allowOrigin?: readonly string[];
  readonly toolCalls?: ToolCallStyle;
  readonly adapter?: readonly string[] | undefined;
  readonly open?: boolean;
  readonly jsonLogs?: boolean;
  readonly json?: boolean;
  /** Requests are not logged. */
  readonly isQuiet?: boolean;
};

const helpText = `
Keys are also read from the environment variable LFM_API_KEY, which other users of this machine cannot see.

Examples:
  lfm serve --open                                   the playground, with the model that ships with lfm
  lfm serve model.Q4_0.gguf my-folder --port 8000
  lfm serve my-folder --adapter poet=./poet          requests ask for the model poet
  LFM_API_KEY=… lfm serve --host 0.0.0.0             other machines may ask, with the key
  curl http://127.0.0.1:8080/v1/completions -H 'content-type: application/json' -d '{"prompt": "Once"}'`;

function portOf(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) < 2 ** 16) return Number(text);
  throw new InvalidArgumentError('Expected a whole number from 0 to 65535.');
}

export function registerServe(program: Command, io: Io): void {
  addLoadOptions(program.command('serve'))
    .description('serve models to OpenAI clients, and a playground to a browser')
    .argument(
      '[models...]',
      'shipped names, folders, .gguf files, names on the hub (default: the model that ships with lfm)',
    )
    .option('--host <address>', 'address to listen on; another than this machine needs an API key', '127.0.0.1')
    .option('--port <n>', 'port to listen on; 0: any that is free', portOf, 8080)
    .option('--api-key <key...>', 'keys of those who may ask')
    .option('--allow-host <name...>', 'names that the server goes by, beside its address')
    .option('--allow-origin <origin...>', 'pages of other origins that may ask, as https://example.com')
    .addOption(
      new Option('--tool-calls <style>', "how models call tools (default: as a model's template shows)").choices(
        Object.keys(callMarkers),
      ),
    )
    .option(
      '--adapter <name=folder...>',
      'LoRA adapters of the first model, as peft saves them; each is a model of its name',
    )
    .option('--open', 'open the playground in a browser')
    .option('--json-logs', 'log each request as a line of JSON')
    .addHelpText('after', helpText)
    .action(async (names: readonly string[], flags: ServeFlags) =>
      serveModels(io, names.length > 0 ? names : [await defaultModel()], flags),
    );
}

/** Serves until Ctrl-C, and throws `Interrupted` then. Errors: those of `serve`, of loading the first model, `package-broken`. */
export async function serveModels(io: Io, names: readonly string[], flags: ServeFlags): Promise<void> {
  for (const name of names) {
    const missing = await missingFromHub(name);
    if (missing) await pullShown(io, missing, false);
  }
  const resolved = await Promise.all(names.map((name) => resolveModel(name)));
  const { LFM_API_KEY: fromEnvironment } = process.env;
  const { host, port, apiKey = fromEnvironment ? [fromEnvironment] : [], allowHost, allowOrigin } = flags;
  await using server = await serve({
    models: names.map((name, index) => ({
      name: basename(name),
      toolCallStyle: flags.toolCalls,
      adapters: index === 0 ? adaptersOf(flags.adapter) : undefined,
      path: pathOf(resolved[index]),
      load: (signal) => load(name, { engine: engineChoice(flags), numerics: flags.numerics, signal }),
    })),
    host,
    port,
    apiKeys: apiKey,
    allowedHosts: allowHost,
    allowedOrigins: allowOrigin,
    assets: await pageAssets(),
    tabFolder: join((await findPackage()).folder, 'dist', 'tab'),
    onFailure: flags.jsonLogs
      ? (error, id) => io.stderr.write(eventLine('failure', { id, ...reasonOf(error) }))
      : undefined,
    onRequest: (entry) => {
      if (!flags.isQuiet) io.stderr.write(`${flags.jsonLogs ? JSON.stringify(entry) : lineOf(entry)}\n`);
    },
  });
  const stopped = untilInterrupted(io);
  await Promise.race([server.ready, stopped]);
  io.stdout.write(
    flags.json
      ? `${JSON.stringify({ url: server.url, models: names.map((name) => basename(name)) })}\n`
      : `${server.url} (playground; OpenAI clients: ${server.url}/v1), Ctrl-C ends it\n`,
  );
  if (flags.open) openBrowser(server.url);
  await stopped;
  const ending = 'ending; answers under way are finished first, Ctrl-C again ends at once';
  io.stderr.write(flags.jsonLogs ? eventLine('ending') : `${ending}\n`);
  await server.close();
}

/** Errors: `bad-option`. */
function adaptersOf(given: readonly string[] = []): Readonly<Record<string, string>> {
  const pairs = given.map((text) => {
    const [, name, folder] = /^([^=]+)=(.+)$/.exec(text) ?? [];
    if (name !== undefined && folder !== undefined) return [name, folder] as const;
    throw new LfmError('bad-option', `--adapter: expected NAME=FOLDER, as poet=./poet; found ${JSON.stringify(text)}.`);
  });
  const twice = pairs.find(([name], i) => pairs.findIndex(([other]) => other === name) < i);
  if (twice) throw new LfmError('bad-option', `--adapter: ${JSON.stringify(twice[0])} is named twice.`);
  return Object.fromEntries(pairs);
}

/** A line of the log that is of no request alone. */
function eventLine(event: string, more: object = {}): string {
  return `${JSON.stringify({ time: new Date().toISOString(), event, ...more })}\n`;
}

function reasonOf(error: unknown): object {
  return error instanceof Error ? { message: error.message, stack: error.stack } : { message: String(error) };
}

/** Of a model that has files. */
function pathOf(model: ResolvedModel | undefined): string | undefined {
  return model && model.kind !== 'definition' ? model.path : undefined;
}

/** The second Ctrl-C ends the process. */
function untilInterrupted({ onInterrupt }: Io): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    onInterrupt(() => {
      if (asked) process.exit(130);
      asked = true;
      resolve();
    });
  });
}

function lineOf({ time, method, route, status, ms, completionTokens, error }: LogEntry): string {
  const tokens = completionTokens === undefined ? '' : `, ${completionTokens} tokens`;
  return `${time} ${method} ${route} ${status} ${ms} ms${tokens}${error === undefined ? '' : `, ${error}`}`;
}
