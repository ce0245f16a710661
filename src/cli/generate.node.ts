// lfm generate, lfm chat and lfm start: text from a model.
import { basename, resolve } from 'node:path';
import type { Command } from 'commander';
import type { ChatMessage } from '../generate/chat.ts';
import type { LanguageModel, TextOptions } from '../generate/model.ts';
import type { Reply } from '../generate/reply.ts';
import { defaultModel } from '../generate/shipped.node.ts';
import type { Io } from './io.node.ts';
import { dim, isTerminal, readAll } from './io.node.ts';
import { withModel } from './open.node.ts';
import type { TextFlags } from './options.node.ts';
import { addTextOptions, companions, positive, textOptions } from './options.node.ts';
import { hasDisplay } from './page.node.ts';
import { serveModels } from './serve.node.ts';
import { continues, converses, talk } from './talk.node.ts';

/** What `start` says where nobody is there to ask: to a model that chats, and to one that goes on with texts. */
const FIRST_PROMPTS = { chat: 'What can I do on a rainy day?', text: 'Once upon a time' };

const modelHelp =
  'a shipped name, a folder, a GGUF file, or OWNER/NAME on the hub (default: the model that ships with lfm)';
const textHelp = 'the text; without it standard input is read, or, on a terminal, line after line';

export function registerGenerate(program: Command, io: Io): void {
  addTextOptions(program.command('generate'))
    .description('continue a text')
    .argument('[model]', modelHelp)
    .argument('[text]', textHelp)
    .addHelpText(
      'after',
      '\nExamples:\n  lfm generate brook-7m "It was a"\n  lfm generate ./mine --temperature 0.7 --seed 1 < beginning.txt',
    )
    .action(async (named: string | undefined, text: string | undefined, flags: TextFlags) => {
      const use = async (model: LanguageModel, signal: AbortSignal) => {
        const options = await textOptions(flags, signal);
        if (text === undefined && isTerminal(io)) return talk(io, continues(model, options), signal);
        await print(io, model, model.generate(text ?? (await readAll(io.stdin)), options), flags);
      };
      await withModel(io, named ?? (await defaultModel()), flags, use, companions(flags));
    });
}

export function registerChat(program: Command, io: Io): void {
  addTextOptions(program.command('chat'))
    .description('answer a message')
    .argument('[model]', modelHelp)
    .argument('[text]', textHelp)
    .option('--system <text>', 'what the model is told before the conversation')
    .addHelpText(
      'after',
      '\nExamples:\n  lfm chat\n  lfm chat ./mine "What is a brook?"\n  lfm chat ./mine --system "Answer in one sentence."',
    )
    .action(async (named: string | undefined, text: string | undefined, flags: TextFlags & { system?: string }) => {
      const use = async (model: LanguageModel, signal: AbortSignal) => {
        const options = await textOptions(flags, signal);
        if (text === undefined && isTerminal(io) && model.chats)
          return talk(io, converses(model, flags.system, options), signal);
        const system: readonly ChatMessage[] =
          flags.system === undefined ? [] : [{ role: 'system', content: flags.system }];
        // A base model is refused before anything is read.
        const ask = (content: string) => model.chat([...system, { role: 'user', content }], options);
        await print(io, model, ask(text ?? (model.chats ? await readAll(io.stdin) : '')), flags);
      };
      await withModel(io, named ?? (await defaultModel()), flags, use, companions(flags));
    });
}

export function registerStart(program: Command, io: Io): void {
  addTextOptions(program.command('start'))
    .description('open the playground; with --prompt, or without a terminal, answer once')
    .argument('[model]', modelHelp)
    .option('--prompt <text>', 'answer this, and exit')
    .option('--port <n>', 'port of the playground (default: any that is free)', positive)
    .option('--no-open', 'print the address, and open no browser')
    .addHelpText('after', '\nExamples:\n  lfm start\n  npm start -- --prompt "Once upon a time"')
    .action(async (named: string | undefined, flags: TextFlags & { prompt?: string; port?: number; open: boolean }) => {
      const { prompt, port = 0, open, adapter } = flags;
      const isPage = prompt === undefined && isTerminal(io);
      const given = adapter === undefined ? undefined : [`${basename(resolve(adapter))}=${adapter}`];
      if (isPage)
        return serveModels(io, [named ?? (await defaultModel())], {
          ...flags,
          adapter: given,
          port,
          open: open && hasDisplay(),
          isQuiet: true,
        });
      const use = async (model: LanguageModel, signal: AbortSignal) =>
        answerOnce(
          io,
          model,
          prompt ?? FIRST_PROMPTS[model.chats ? 'chat' : 'text'],
          flags,
          await textOptions(flags, signal),
        );
      await withModel(io, named ?? (await defaultModel()), flags, use, companions(flags));
    });
}

async function answerOnce(io: Io, model: LanguageModel, prompt: string, flags: TextFlags, options: TextOptions) {
  if (!flags.json && !model.chats) io.stdout.write(dim(prompt, io.stdout));
  const messages = [{ role: 'user', content: prompt }] as const;
  await print(io, model, model.chats ? model.chat(messages, options) : model.generate(prompt, options), flags);
}

/** Streams a reply, or prints it as JSON once it is whole. */
async function print(io: Io, model: LanguageModel, reply: Reply, { json }: TextFlags): Promise<void> {
  if (json) {
    const { text, finishReason, usage } = await reply;
    io.stdout.write(`${JSON.stringify({ model: model.name, engine: model.engine, text, finishReason, usage })}\n`);
    return;
  }
  for await (const piece of reply) io.stdout.write(piece);
  io.stdout.write('\n');
}
