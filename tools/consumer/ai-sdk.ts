// The package `ai` over lfm, as a stranger uses it: tools, thoughts, objects, streams, abort, vectors. LFM_URL is a server whose
// model `scripted` says, in turn, what tools/test-examples.ts told it to; brook-7m runs in this process.
import assert from 'node:assert/strict';
import { embedMany, generateObject, generateText, isStepCount, Output, streamText, tool } from 'ai';
import { createLfm, lfm, type LfmCallOptions } from 'lfm/ai';
import * as z from 'zod';

const baseURL = process.env['LFM_URL'];
assert.ok(baseURL);
const scripted = createLfm({ baseURL }).languageModel('scripted');
const weather = tool({
  description: 'Tells the weather.',
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => ({ city, weather: 'rain' }),
});

const asked = await generateText({
  model: scripted,
  system: 'Be brief.',
  prompt: 'Rain in Paris?',
  tools: { weather },
  stopWhen: isStepCount(3),
});
assert.deepEqual(
  asked.steps.map(({ finishReason }) => finishReason),
  ['tool-calls', 'stop'],
);
assert.deepEqual(
  asked.steps[0]?.toolCalls.map(({ input }) => input),
  [{ city: 'Paris' }],
);
assert.deepEqual(
  asked.steps[0]?.toolResults.map(({ output }) => output),
  [{ city: 'Paris', weather: 'rain' }],
);
assert.equal(asked.text, 'Rain in Paris.');
assert.ok((asked.usage.inputTokens ?? 0) > 0 && (asked.usage.outputTokens ?? 0) > 0);

const streamed = streamText({ model: scripted, prompt: 'And in Rome?', tools: { weather }, stopWhen: isStepCount(3) });
const types = new Set<string>();
for await (const { type } of streamed.fullStream) types.add(type);
for (const type of ['reasoning-delta', 'tool-input-delta', 'tool-call', 'tool-result', 'text-delta', 'finish'])
  assert.ok(types.has(type), `the stream has no ${type}`);
assert.equal(await streamed.text, 'Sun in Rome.');

const schema = z.object({ city: z.string(), people: z.int() });
const typed = await generateText({ model: scripted, prompt: 'A city.', output: Output.object({ schema }) });
assert.deepEqual(typed.output, { city: 'Oslo', people: 700000 });

// The model says nothing from here on, so only the signal can end this.
const ending = new AbortController();
let aborted = 0;
const endless = streamText({
  model: scripted,
  prompt: 'Wait.',
  abortSignal: ending.signal,
  onAbort: () => {
    aborted++;
  },
});
setTimeout(() => ending.abort(), 200);
await endless.consumeStream();
assert.equal(aborted, 1);
await assert.rejects(
  generateText({ model: scripted, prompt: 'Wait.', abortSignal: AbortSignal.timeout(200) }),
  /abort|timeout/i,
);
const missing = createLfm({ baseURL })('no-such-model');
await assert.rejects(generateText({ model: missing, prompt: 'Hello' }), { name: 'AI_APICallError', statusCode: 404 });

// The shipped model in this process: a base model, whose objects the schema holds all the same.
const brook = lfm('brook-7m');
const small = z.object({ city: z.string().max(12), people: z.int().max(9_999_999) });
const made = await generateObject({ model: brook, prompt: 'A city as JSON:', schema: small, seed: 3 });
assert.ok(small.safeParse(made.object).success);
const options: LfmCallOptions = { logprobs: 2 };
const told = await generateText({
  model: brook,
  prompt: 'Once upon a',
  maxOutputTokens: 4,
  providerOptions: { lfm: options },
});
const logprobs = told.providerMetadata?.['lfm']?.['logprobs'];
assert.ok(Array.isArray(logprobs));
assert.equal(logprobs.length, 4);
const { embeddings } = await embedMany({ model: lfm.embeddingModel('brook-7m'), values: ['a brook', 'a river'] });
assert.equal(embeddings.length, 2);
await lfm[Symbol.asyncDispose]();
console.log(`ai on Node ${process.version}: text, stream, tools, objects, abort, refusal, vectors`);
