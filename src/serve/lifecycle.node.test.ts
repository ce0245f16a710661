// A server's life: models loaded and let go of, what the log says, and how it ends.
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { main } from '../cli/program.node.ts';
import { load } from '../generate/load.ts';
import { LfmError } from '../tensor/error.ts';
import type { LogEntry } from './index.ts';
import { serve } from './index.ts';
import { ask, brook, post, raw, scriptedModel, startServer } from './testing.node.ts';

const key = { authorization: 'Bearer a-right-key' };

describe('models', () => {
  it('are loaded and let go of by those who hold a key, and not while they are in use', async () => {
    let loads = 0;
    const model = {
      name: 'brook-7m',
      load: (signal: AbortSignal) => {
        loads++;
        return load('brook-7m', { engine: { name: 'onnx', threads: 1 }, signal });
      },
    };
    const { model: scripted } = await scriptedModel('{{ messages[0].content }}');
    const models = [{ name: 'scripted', load: async () => scripted }, model];
    await using server = await startServer({ models, apiKeys: ['a-right-key'] });
    const manage = async (what: 'load' | 'unload', name = 'brook-7m') =>
      post(`${server.url}/v1/models/${what}`, { model: name }, key);
    const isLoaded = async () =>
      JSON.parse((await raw(`${server.url}/v1/models/brook-7m`, key)).text) as { loaded: boolean };
    expect(await isLoaded()).toMatchObject({ loaded: false });
    expect(await manage('load')).toMatchObject({ status: 200 });
    expect(await isLoaded()).toMatchObject({ loaded: true, context_length: 512 });
    const streamed = ask(server.url, { model: 'brook-7m', prompt: 'Once', max_tokens: 60, stream: true }, key);
    const running = async () => (await raw(`${server.url}/metrics`, key)).text;
    await expect.poll(running, { timeout: 5000, interval: 5 }).toContain('lfm_texts_running{model="brook-7m"} 1');
    expect(await manage('unload')).toMatchObject({ status: 409 });
    expect((await streamed).text).toContain('[DONE]');
    expect(await manage('unload')).toMatchObject({ status: 200 });
    expect(await isLoaded()).toMatchObject({ loaded: false });
    const again = await ask(server.url, { model: 'brook-7m', prompt: 'Once', max_tokens: 1 }, key);
    expect([again.status, loads]).toEqual([200, 2]);
    expect(await manage('load', 'nobody')).toMatchObject({ status: 404 });
  });
});

describe('the log', () => {
  it('names failures of the server itself, which clients are not told of', async () => {
    const log: LogEntry[] = [];
    const failures: unknown[] = [];
    const broken = new LfmError('disk-full', 'a secret of this machine');
    const server = await serve({
      models: [{ name: 'broken', load: () => Promise.reject(broken) }],
      port: 0,
      onRequest: (entry) => log.push(entry),
      onFailure: (error) => failures.push(error),
    });
    const { status, text } = await ask(server.url, { prompt: 'x' });
    await server.close(0);
    expect(status).toBe(500);
    expect(text).not.toContain('secret');
    expect(log).toMatchObject([{ status: 500, error: 'server_error' }]);
    expect(failures).toEqual([broken]);
  });

  it('counts no token where only the prompt is asked for', async () => {
    const log: LogEntry[] = [];
    const { model, say } = await scriptedModel('');
    await using server = await startServer({
      models: [{ name: 'scripted', load: async () => model }],
      onRequest: (entry) => log.push(entry),
    });
    say('The brook');
    const { text } = await ask(server.url, { prompt: 'The old man', max_tokens: 0, echo: true });
    expect(JSON.parse(text)).toMatchObject({
      usage: { completion_tokens: 0 },
      choices: [{ text: 'The old man', finish_reason: 'length' }],
    });
    expect(log).toMatchObject([{ completionTokens: 0 }]);
  });
});

describe('lm-evaluation-harness', () => {
  it('hears of the tokenizer, and gets one token after the prompt, also where that ends the text', async () => {
    await using server = await startServer();
    const info = JSON.parse((await raw(`${server.url}/tokenizer_info`, {})).text) as { eos_token: string };
    expect(info).toMatchObject({ model_max_length: 512, chat_template: null });
    const idsOf = async (prompt: string) => {
      const { text } = await post(`${server.url}/tokenize`, { prompt, add_special_tokens: false });
      return (JSON.parse(text) as { tokens: number[] }).tokens;
    };
    const [end = -1, ...none] = await idsOf(info.eos_token);
    expect(none).toEqual([]);
    const prompt = await idsOf('The old man');
    const asked = { prompt: [prompt], max_tokens: 1, echo: true, logprobs: 1, temperature: 0, seed: 1234 };
    const { text } = await ask(server.url, { ...asked, logit_bias: { [end]: 100 } });
    const { choices } = JSON.parse(text) as { choices: [{ logprobs: { tokens: string[]; token_logprobs: number[] } }] };
    expect(choices[0]).toMatchObject({ text: 'The old man', finish_reason: 'stop' });
    const { tokens, token_logprobs: logprobs } = choices[0].logprobs;
    expect([tokens.length, logprobs.length]).toEqual([prompt.length + 1, prompt.length + 1]);
  });
});

describe('the end', () => {
  it('finishes streams, refuses the rest with 503 meanwhile, and frees everything', async () => {
    const failures: unknown[] = [];
    const server = await startServer({ onFailure: (error) => failures.push(error) });
    const streamed = ask(server.url, { prompt: 'Once', max_tokens: 60, stream: true, logit_bias: { 2: -100 } });
    const running = async () => (await raw(`${server.url}/metrics`, {})).text;
    await expect.poll(running, { timeout: 5000, interval: 5 }).toContain('lfm_texts_running{model="brook-7m"} 1');
    const closing = server.close();
    expect(await ask(server.url, { prompt: 'x' })).toMatchObject({ status: 503, headers: { 'retry-after': '5' } });
    expect(await raw(`${server.url}/health`, {})).toMatchObject({ status: 503, text: '{"status":"ending"}' });
    await closing;
    const { text } = await streamed;
    expect(text).toContain('"finish_reason":"length"');
    expect(text.trimEnd().endsWith('data: [DONE]')).toBe(true);
    expect(failures).toEqual([]);
    await expect(raw(`${server.url}/health`, {})).rejects.toMatchObject({
      code: expect.stringMatching(/^ECONN/) as string,
    });
  });

  it('comes within a bound, whatever still runs: streams say so', async () => {
    const server = await startServer();
    const streamed = ask(server.url, { prompt: 'Once', max_tokens: 500, n: 8, stream: true, logit_bias: { 2: -100 } });
    const running = async () => (await raw(`${server.url}/metrics`, {})).text;
    await expect.poll(running, { timeout: 5000, interval: 5 }).toMatch(/lfm_texts_running\{model="brook-7m"\} [1-8]/);
    await server.close(0.05);
    expect((await streamed).text).toContain('"code":"model_closed"');
  });

  it('is 0 for the command that is asked to end', async () => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const handlers = new Set<() => void>();
    const onInterrupt = (handler: () => void) => {
      handlers.add(handler);
      return () => handlers.delete(handler);
    };
    let said = '';
    stderr.on('data', (chunk) => (said += String(chunk)));
    const code = main(
      ['serve', ...brook.map(({ name }) => name), '--port', '0', '--threads', '1', '--json-logs', '--json'],
      {
        stdin: new PassThrough(),
        stdout,
        stderr,
        onInterrupt,
      },
    );
    const [line] = (await stdout.iterator().next()).value?.toString().split('\n') ?? [];
    const { url } = JSON.parse(line ?? '') as { url: string };
    expect((await raw(`${url}/health`, {})).status).toBe(200);
    for (const handler of handlers) handler();
    expect(await code).toBe(0);
    const lines = said
      .trim()
      .split('\n')
      .map((each) => JSON.parse(each) as object);
    expect(lines).toMatchObject([{ route: '/health', status: 200 }, { event: 'ending' }]);
  });
});
