// lfm serve: models over HTTP, in the protocol that OpenAI's clients speak, and the playground.
import { basename, join } from 'node:path';
import type { Command } from 'commander';
import { findPackage } from '../host/package.node.ts';
import { load } from '../generate/load.ts';
import type { ResolvedModel } from '../generate/source.node.ts';
import { missingFromHub, resolveModel } from '../generate/source.node.ts';
import type { LogEntry } from '../serve/index.ts';
import { serve } from '../serve/index.ts';
import type { Io } from './io.node.ts';
import { Interrupted } from './io.node.ts';
import type { LoadFlags } from './options.node.ts';
import { addLoadOptions, DEFAULT_MODEL, engineChoice, positive } from './options.node.ts';
import { openBrowser, pageAssets } from './page.node.ts';
import { pullShown } from './pull.node.ts';

export type ServeFlags = LoadFlags & {
  readonly host?: string;
  readonly port: number;
  readonly apiKey?: readonly string[];
  readonly allowHost?: readonly string[];
  readonly allowOrigin?: readonly string[];
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
  LFM_API_KEY=… lfm serve --host 0.0.0.0             other machines may ask, with the key
  curl http://127.0.0.1:8080/v1/completions -H 'content-type: application/json' -d '{"prompt": "Once"}'`;

export function registerServe(program: Command, io: Io): void {
  addLoadOptions(program.command('serve'))
    .description('serve models to OpenAI clients, and a playground to a browser')
    .argument('[models...]', 'shipped names, folders, .gguf files, names on the hub', [DEFAULT_MODEL])
    .option('--host <address>', 'address to listen on; another than this machine needs an API key', '127.0.0.1')
    .option('--port <n>', 'port to listen on', positive, 8080)
    .option('--api-key <key...>', 'keys of those who may ask')
    .option('--allow-host <name...>', 'names that the server goes by, beside its address')
    .option('--allow-origin <origin...>', 'pages of other origins that may ask, as https://example.com')
    .option('--open', 'open the playground in a browser')
    .option('--json-logs', 'log each request as a line of JSON')
    .addHelpText('after', helpText)
    .action((names: readonly string[], flags: ServeFlags) => serveModels(io, names, flags));
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
  io.stderr.write('ending; answers under way are finished first, Ctrl-C again ends at once\n');
  await server.close();
  throw new Interrupted('interrupted');
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
