// lfm's side of npm run bench -- generate: a command a line of JSON on standard input, an answer a line.
import { createInterface } from 'node:readline';
import * as z from 'zod';
import { load } from '../src/generate/load.ts';
import { numericsNames } from '../src/generate/weights.ts';
import { decodeBytes } from '../src/liquid/index.ts';
import { readBandwidth } from './numerics.ts';

const settingsSchema = z.object({
  threads: z.number(),
  contextLength: z.number(),
  numerics: z.enum(numericsNames),
  clock: z.enum(['wall', 'cpu']),
});
const tokens = z.array(z.number());
const commandSchema = z.discriminatedUnion('name', [
  z.object({ name: z.literal('about') }),
  z.object({ name: z.literal('encode'), message: z.string() }),
  z.object({ name: z.literal('bandwidth') }),
  z.object({ name: z.literal('bytes'), context: z.number() }),
  /** `goesOn`: what the last text held may be reused. */
  z.object({
    name: z.literal('text'),
    tokens,
    count: z.number(),
    goesOn: z.boolean(),
    promptLookup: z.number(),
  }),
  z.object({ name: z.literal('batch'), prompts: z.array(tokens), count: z.number() }),
]);
type Command = z.infer<typeof commandSchema>;

const [path = '', settings = ''] = process.argv.slice(2);
const { threads, contextLength, numerics, clock } = settingsSchema.parse(JSON.parse(settings));
const started = performance.now();
const model = await load(path, { engine: { name: 'onnx', threads }, numerics, contextLength });
const loadMs = performance.now() - started;
const { scheduler, generator } = model;
let texts = 0;

function milliseconds(): number {
  if (clock === 'wall') return performance.now();
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

async function answer(command: Command): Promise<unknown> {
  switch (command.name) {
    case 'about':
      return { version: generator.engine.description, loadMs };
    case 'encode':
      return { tokens: model.chatTemplate.encode([{ role: 'user', content: command.message }]) };
    case 'bandwidth':
      return { bytesPerSecond: await readBandwidth(generator.engine) };
    case 'bytes':
      return { bytes: Object.values(decodeBytes(generator.model, command.context, 'float32')).reduce((a, b) => a + b) };
    case 'text': {
      const { tokens: prompt, count, goesOn, promptLookup } = command;
      if (!goesOn) texts++;
      const options = { maxTokens: count, temperature: 0, tenant: `text ${texts}`, promptLookup };
      const [ids, times]: [number[], number[]] = [[], []];
      let before = milliseconds();
      for await (const { id } of scheduler.generate(prompt, options)) {
        const now = milliseconds();
        times.push(now - before);
        before = now;
        ids.push(id);
      }
      return { ids, times };
    }
    case 'batch': {
      texts++;
      const options = { maxTokens: command.count, temperature: 0, tenant: `text ${texts}` };
      const streams = command.prompts.map((prompt) => scheduler.generate(prompt, options));
      const arrived = streams.map(async (stream) => {
        const times: number[] = [];
        for await (const { id } of stream) if (id >= 0) times.push(milliseconds());
        return times;
      });
      return { arrived: await Promise.all(arrived) };
    }
  }
}

for await (const line of createInterface({ input: process.stdin }))
  console.log(JSON.stringify(await answer(commandSchema.parse(JSON.parse(line)))));
process.exit(0);
