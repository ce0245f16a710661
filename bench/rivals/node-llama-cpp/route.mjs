// node-llama-cpp behind a small hono route, as its users serve it: POST /v1/completions, streamed, several texts side by side.
// Usage: node route.mjs MODEL.gguf '{"threads":1,"contextLength":512,"sequences":32}'; prints {"url", "version"} once it listens.
import { readFileSync } from 'node:fs';
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { streamSSE } from 'hono/streaming';
import { getLlama } from 'node-llama-cpp';

const [path, settings] = process.argv.slice(2);
const { threads, contextLength, sequences } = JSON.parse(settings);
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: threads });
const model = await llama.loadModel({ modelPath: path });
const context = await model.createContext({
  threads: { ideal: threads, min: threads },
  flashAttention: true,
  contextSize: contextLength,
  sequences,
});
const free = Array.from({ length: sequences }, () => context.getSequence());

const app = new Hono();
app.post('/v1/completions', async (c) => {
  const { prompt, max_tokens: most } = await c.req.json();
  const sequence = free.pop();
  await sequence.clearHistory();
  return streamSSE(c, async (stream) => {
    let count = 0;
    const options = { temperature: 0, yieldEogToken: true };
    for await (const token of sequence.evaluate(model.tokenize(prompt), options)) {
      const text = model.detokenize([token]);
      await stream.writeSSE({ data: JSON.stringify({ choices: [{ index: 0, text, finish_reason: null }] }) });
      if (++count === most) break;
    }
    await stream.writeSSE({ data: '[DONE]' });
    free.push(sequence);
  });
});
const { version } = JSON.parse(readFileSync(new URL('node_modules/node-llama-cpp/package.json', import.meta.url), 'utf8'));
serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, ({ port }) => {
  console.log(JSON.stringify({ url: `http://127.0.0.1:${port}`, version }));
});
for await (const _ of process.stdin);
process.exit(0);
