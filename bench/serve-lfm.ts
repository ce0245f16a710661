// lfm's side of npm run bench -- serve: a server in a process of its own, which also runs its engine without HTTP. It prints its
// address, then answers a command a line of JSON.
import { createInterface } from 'node:readline';
import * as z from 'zod';
import { MOST_SCORED_TOKENS } from '../src/generate/scored-prompts.ts';
import { load } from '../src/generate/load.ts';
import { numericsNames } from '../src/generate/weights.ts';
import { serve } from '../src/serve/index.ts';

const settingsSchema = z.object({
  threads: z.number(),
  contextLength: z.number(),
  numerics: z.enum(numericsNames),
  maxBatch: z.number(),
  cacheBytes: z.number(),
});
const commandSchema = z.discriminatedUnion('name', [
  z.object({ name: z.literal('engine'), prompt: z.string(), count: z.number() }),
  z.object({ name: z.literal('memory') }),
  z.object({ name: z.literal('cpu') }),
]);

const [path = '', settings = ''] = process.argv.slice(2);
const { threads, ...options } = settingsSchema.parse(JSON.parse(settings));
const model = await load(path, { engine: { name: 'onnx', threads }, ...options });
const [end = -1] = model.stopIds;
const failures: string[] = [];
await using server = await serve({
  models: [{ name: 'model', load: async () => model }],
  port: 0,
  onFailure: (error) => failures.push(String(error)),
});
await server.ready;
console.log(JSON.stringify({ url: server.url, version: model.engine, end }));

async function answer(command: z.infer<typeof commandSchema>): Promise<unknown> {
  if (command.name === 'memory') {
    globalThis.gc?.();
    const { rss, heapUsed, external } = process.memoryUsage();
    const { running, waiting } = model.scheduler.load;
    const { buffers } = model.generator.engine.live();
    const { bytes, budget } = model.cache;
    const full = Math.min(bytes / budget, model.scheduler.scoredTokens / MOST_SCORED_TOKENS);
    return { rss, heapUsed, external, running, waiting, buffers, full, failures: failures.splice(0) };
  }
  if (command.name === 'cpu') {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  }
  const started = performance.now();
  const times: number[] = [];
  const asked = { maxTokens: command.count, temperature: 0, logitBias: { [end]: -100 } };
  for await (const _ of model.generate(command.prompt, asked)) times.push(performance.now() - started);
  return { times };
}

for await (const line of createInterface({ input: process.stdin }))
  console.log(JSON.stringify(await answer(commandSchema.parse(JSON.parse(line)))));
