// @ts-check
// The AI SDK over a model of this process, or over a server: LFM_URL=http://127.0.0.1:8080/v1 node main.js MODEL
import { generateText, isStepCount, Output, streamText, tool } from 'ai';
import { createLfm } from 'lfm/ai';
import * as z from 'zod';

const { LFM_URL: baseURL, LFM_API_KEY: apiKey } = process.env;
const [name = 'brook-123m'] = process.argv.slice(2);
const lfm = createLfm(baseURL === undefined ? {} : { baseURL, apiKey });
const model = lfm(name);

const { text, usage } = await generateText({ model, prompt: 'What is a brook?', maxOutputTokens: 30, seed: 1 });
console.log(`generateText: ${text} (${usage.outputTokens} tokens)`);

process.stdout.write('streamText:');
const { textStream } = streamText({ model, prompt: 'Tell me of a fox.', maxOutputTokens: 30, seed: 2 });
for await (const piece of textStream) process.stdout.write(piece);

const schema = z.object({ city: z.string().max(12), people: z.int().max(9_999_999) });
const { output } = await generateText({
  model,
  prompt: 'A city and how many people live there, as JSON:',
  output: Output.object({ schema }),
  maxOutputTokens: 200,
  seed: 3,
});
console.log(`\nan object: ${JSON.stringify(output)}`);

// A model whose chat template takes tools calls them; others say so with a warning and answer without.
const weather = tool({
  description: 'Tells the weather.',
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => ({ city, weather: 'rain' }),
});
const asked = await generateText({
  model,
  prompt: 'Do I need an umbrella in Paris?',
  tools: { weather },
  stopWhen: isStepCount(3),
  maxOutputTokens: 60,
  seed: 4,
});
const calls = asked.steps.flatMap(({ toolCalls }) => toolCalls.map(({ input }) => JSON.stringify(input)));
console.log(`tools: ${calls.join(', ') || 'no call'}; ${asked.text}`);
await lfm[Symbol.asyncDispose]();
