// The server as its clients see it: OpenAI's own npm client, plain requests, and those who should get nothing.
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:http';
import { text } from 'node:stream/consumers';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { load } from '../generate/load.ts';
import { parameterCounts, stateBytes } from '../liquid/index.ts';
import type { LogEntry } from './index.ts';
import type { ModelReport } from './inspect.ts';
import type { RunningServer } from './server.node.ts';
import { ask, json, raw, startServer } from './testing.node.ts';

const log: LogEntry[] = [];
const failures: unknown[] = [];
describe('serve [onnx]', () => {
  let server: RunningServer;
  let client: OpenAI;
  beforeAll(async () => {
    server = await startServer({ onRequest: (entry) => log.push(entry), onFailure: (error) => failures.push(error) });
    client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none-is-asked-for', maxRetries: 0 });
  });
  afterAll(async () => {
    await server.close(0);
    expect(failures).toEqual([]);
  });

  it('answers OpenAI’s client: models, completions, the same as a stream, embeddings', async () => {
    const { data } = await client.models.list();
    expect(data).toMatchObject([{ id: 'brook-7m', object: 'model', context_length: 512, chats: false }]);
    const asked = { model: 'brook-7m', prompt: 'Once upon a time', max_tokens: 12, temperature: 0, logprobs: 3 };
    const whole = await client.completions.create(asked);
    const [choice] = whole.choices;
    expect(choice?.finish_reason).toBe('length');
    expect(whole.usage).toMatchObject({ completion_tokens: 12, total_tokens: 12 + (whole.usage?.prompt_tokens ?? 0) });
    expect(choice?.logprobs?.tokens?.join('')).toBe(choice?.text);
    let text = '';
    const stream = await client.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } });
    let usage: unknown;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.text ?? '';
      usage = chunk.usage ?? usage;
    }
    expect(text).toBe(choice?.text);
    expect(usage).toMatchObject({ completion_tokens: 12 });
    await using direct = await load('brook-7m', { engine: { name: 'onnx', threads: 1 } });
    expect((await direct.generate(asked.prompt, { maxTokens: 12, temperature: 0 })).text).toBe(text);
    const { data: vectors } = await client.embeddings.create({ model: 'brook-7m', input: ['one', 'two'] });
    expect(vectors).toHaveLength(2);
    expect(Math.hypot(...(vectors[0]?.embedding ?? []))).toBeCloseTo(1, 5);
  });

  it('gives several prompts, n, stop, echo with the prompt’s log-probabilities, and seeds that repeat', async () => {
    const several = await client.completions.create({
      model: 'brook-7m',
      prompt: ['One', 'Two'],
      n: 2,
      max_tokens: 3,
      seed: 5,
    });
    expect(several.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    const again = await client.completions.create({
      model: 'brook-7m',
      prompt: ['One', 'Two'],
      n: 2,
      max_tokens: 3,
      seed: 5,
    });
    expect(again.choices.map(({ text }) => text)).toEqual(several.choices.map(({ text }) => text));
    const echoed = await client.completions.create({
      model: 'brook-7m',
      prompt: 'The old man',
      echo: true,
      max_tokens: 1,
      logprobs: 1,
      temperature: 0,
    });
    const [first] = echoed.choices;
    expect(first?.text.startsWith('The old man')).toBe(true);
    const likelihoods = first?.logprobs?.token_logprobs ?? [];
    expect(likelihoods[0]).toBeNull();
    expect(likelihoods.slice(1).every((value) => typeof value === 'number' && value <= 0)).toBe(true);
    const free = await client.completions.create({ model: 'brook-7m', prompt: 'Once', max_tokens: 30, temperature: 0 });
    const word = /[a-z]{4,}/.exec(free.choices[0]?.text ?? '')?.[0] ?? '';
    const cut = await client.completions.create({
      model: 'brook-7m',
      prompt: 'Once',
      max_tokens: 30,
      temperature: 0,
      stop: word,
    });
    expect(cut.choices[0]).toMatchObject({ finish_reason: 'stop' });
    expect(cut.choices[0]?.text).toBe(free.choices[0]?.text.split(word)[0]);
  });

  it('tokenizes and back, and tells of itself', async () => {
    const tokens = await raw(`${server.url}/tokenize`, json, JSON.stringify({ prompt: 'A brook.' }));
    const { tokens: ids } = JSON.parse(tokens.text) as { tokens: number[] };
    const back = await raw(`${server.url}/detokenize`, json, JSON.stringify({ tokens: ids }));
    expect(JSON.parse(back.text)).toMatchObject({ prompt: expect.stringContaining('A brook.') as string });
    expect(await raw(`${server.url}/health`, {})).toMatchObject({ status: 200, text: '{"status":"ok"}' });
    expect((await raw(`${server.url}/metrics`, {})).text).toMatch(
      /lfm_completion_tokens_total\{model="brook-7m"\} \d+/,
    );
    expect(log.find(({ route }) => route === '/v1/completions')).toMatchObject({ status: 200, model: 'brook-7m' });
    expect(JSON.stringify(log)).not.toContain('Once upon');
  });

  it.each([
    ['a temperature that is a word', { prompt: 'x', temperature: 'hot' }, 400, 'temperature'],
    ['less than no tokens', { prompt: 'x', max_tokens: -1 }, 400, 'max_tokens'],
    ['a prompt beyond the context', { prompt: 'x'.repeat(4000) }, 400, 'tokens'],
    ['a model that is not here', { prompt: 'x', model: 'gpt-4' }, 404, 'gpt-4'],
    ['no prompt', {}, 400, 'prompt'],
  ])('refuses %s, saying so', async (_, body, status, said) => {
    const answer = await ask(server.url, body);
    expect(answer.status).toBe(status);
    const { error } = JSON.parse(answer.text) as { error: { message: string; type: string } };
    expect(error.message).toContain(said);
  });

  it('refuses what is no JSON, other methods and paths, and chats of a base model', async () => {
    expect((await raw(`${server.url}/v1/completions`, json, '{"prompt":')).status).toBe(400);
    expect((await raw(`${server.url}/v1/completions`, { 'content-type': 'text/plain' }, '{}')).status).toBe(415);
    expect((await raw(`${server.url}/v1/completions`, {})).status).toBe(405);
    expect((await raw(`${server.url}/nothing`, {})).status).toBe(404);
    const chat = client.chat.completions.create({ model: 'brook-7m', messages: [{ role: 'user', content: 'hi' }] });
    await expect(chat).rejects.toMatchObject({ status: 400, code: 'no_chat_template' });
  });

  it('frames a stream’s chunks so that the connection serves again, whatever they hold', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    // More than a socket takes at once, and bytes that are not letters.
    const prompt = 'é€𝄞 '.repeat(45);
    const body = JSON.stringify({ prompt, max_tokens: 3, temperature: 0, echo: true, logprobs: 5, stream: true });
    const reused: boolean[] = [];
    const said: string[] = [];
    for (let turn = 0; turn < 3; turn++) {
      const sent = request(`${server.url}/v1/completions`, { method: 'POST', agent, headers: json });
      sent.end(body);
      const [answer] = (await once(sent, 'response')) as [IncomingMessage];
      expect(answer.headers['transfer-encoding']).toBe('chunked');
      reused.push(sent.reusedSocket);
      said.push((await text(answer)).replaceAll(/"(id|created)":[^,]*,/g, ''));
      expect(answer.complete).toBe(true);
      // A connection is free again once its answer has been read.
      await new Promise((resolve) => setImmediate(resolve));
    }
    agent.destroy();
    expect(reused).toEqual([false, true, true]);
    expect(said[0]).toMatch(/^data: \{[^]*\n\ndata: \[DONE\]\n\n$/);
    expect(said[0]?.length).toBeGreaterThan(30_000);
    expect(said).toEqual([said[0], said[0], said[0]]);
  });

  it('frees the place of a client that leaves in the middle of a stream', async () => {
    const controller = new AbortController();
    const stream = await client.completions.create(
      { model: 'brook-7m', prompt: 'A long story', max_tokens: 400, stream: true },
      { signal: controller.signal },
    );
    for await (const _ of stream) break;
    controller.abort();
    const pending = async () => /lfm_texts_pending (\d+)/.exec((await raw(`${server.url}/metrics`, {})).text)?.[1];
    await expect.poll(pending, { timeout: 5000 }).toBe('0');
  });

  it('tells what a model is made of, in figures and pictures', async () => {
    const { status, text } = await raw(`${server.url}/v1/models/brook-7m/inspect`, {});
    expect(status).toBe(200);
    const report = JSON.parse(text) as ModelReport;
    await using direct = await load('brook-7m', { engine: { name: 'onnx', threads: 1 } });
    const { definition } = direct;
    expect(report.parameters).toBe(parameterCounts(definition).total);
    expect(report.weightBytes).toBe(4 * report.parameters);
    expect(report.stateBytes['512']).toBe(stateBytes(definition, 512, 'float32'));
    expect(report.layers).toHaveLength(definition.layers.length);
    for (const picture of Object.values(report.pictures)) expect(picture).toMatch(/^<svg [^]*<\/svg>\n$/);
    expect((await raw(`${server.url}/v1/models/nothing/inspect`, {})).status).toBe(404);
  });
});
