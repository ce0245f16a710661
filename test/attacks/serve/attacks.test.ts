// Those who should get nothing out of a server: each promise of docs/serve.md under "Who may ask", broken on purpose.
import type * as nodeCrypto from 'node:crypto';
import { createServer } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { RunningServer, ServeOptions } from '../../../src/serve/index.ts';
import { serve } from '../../../src/serve/index.ts';
import { ask, brook, json, post, raw, scriptedModel, startServer } from '../../../src/serve/testing.node.ts';
import { Guard } from '../../../src/serve/guard.node.ts';

const { compared } = vi.hoisted(() => ({ compared: [] as [number, number][] }));
vi.mock('node:crypto', async (original) => {
  const crypto = await original<typeof nodeCrypto>();
  const timingSafeEqual = (a: Uint8Array, b: Uint8Array) => {
    compared.push([a.length, b.length]);
    return crypto.timingSafeEqual(a, b);
  };
  return { ...crypto, timingSafeEqual };
});

type Scripted = Awaited<ReturnType<typeof scriptedModel>>;
const key = (name: string) => ({ authorization: `Bearer ${name}` });

/** A server of a model that says what it is told to. */
async function start(options: Partial<ServeOptions> = {}): Promise<RunningServer & { readonly scripted: Scripted }> {
  const scripted = await scriptedModel('{{ messages[0].content }}');
  const server = await startServer({ models: [{ name: 'scripted', load: async () => scripted.model }], ...options });
  return { ...server, scripted, [Symbol.asyncDispose]: () => server.close(0) };
}

/** A client that writes what it likes and reads when it likes. */
async function dial(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

const rest = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('other machines, hosts and pages', () => {
  it.each(['0.0.0.0', '::', '192.168.0.7', 'example.com'])('get no server on %s without a key', async (host) => {
    await expect(serve({ models: brook, host, port: 0 })).rejects.toMatchObject({ code: 'api-key-required' });
  });

  it('are turned away by the names and origins that they send, before anything is read', async () => {
    await using server = await start();
    const { host, port } = new URL(server.url);
    const models = `${server.url}/v1/models`;
    for (const name of ['evil.example', `evil.example:${port}`, '127.0.0.1.evil.example', '8.8.8.8', '[::1', 'a b'])
      expect((await raw(models, { host: name })).status, name).not.toBe(200);
    const nameless = await dial(server.url);
    nameless.end('GET /v1/models HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n');
    let said = '';
    for await (const chunk of nameless) said += String(chunk);
    expect(said).toMatch(/^HTTP\/1.1 4\d\d/);
    for (const headers of [
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { origin: `http://${host}.evil.example` },
      { origin: 'http://127.0.0.1:1' },
      { 'sec-fetch-site': 'cross-site' },
    ])
      expect((await raw(models, headers as Record<string, string>)).status).toBe(403);
    for (const headers of [{ host: `localhost:${port}` }, { origin: `http://${host}` }])
      expect((await raw(models, headers as Record<string, string>)).status).toBe(200);
    // What a form of a foreign page can send is no JSON.
    expect((await raw(`${server.url}/v1/completions`, { 'content-type': 'text/plain' }, '{"prompt":"x"}')).status).toBe(
      415,
    );
  });

  it('may ask from the origins that were allowed, and are told so', async () => {
    const origin = 'https://app.example';
    await using server = await start({ allowedOrigins: [origin], allowedHosts: ['models.example'] });
    const { status, headers } = await raw(`${server.url}/v1/models`, { origin, host: 'models.example' });
    expect([status, headers['access-control-allow-origin']]).toEqual([200, origin]);
    const other = await raw(`${server.url}/v1/models`, { origin: 'https://other.example' });
    expect([other.status, other.headers['access-control-allow-origin']]).toEqual([403, undefined]);
  });
});

describe('keys', () => {
  it('are asked for on every path but health and the page', async () => {
    const assets = new Map([['/', { type: 'text/html', body: '<p>page' }]]);
    await using server = await start({ apiKeys: ['a-right-key'], assets });
    server.scripted.say('hi');
    const gets = ['/v1/models', '/v1/models/scripted', '/metrics', '/tokenizer_info', '/nothing'];
    const posts = ['completions', 'chat/completions', 'embeddings', 'models/load', 'models/unload'].map(
      (p) => `/v1/${p}`,
    );
    for (const wrong of [
      {},
      key('a-wrong-key'),
      key(''),
      { authorization: 'a-right-key' },
      { authorization: 'Basic a-right-key' },
    ]) {
      const headers = wrong as Record<string, string>;
      for (const path of gets) expect((await raw(server.url + path, headers)).status, path).toBe(401);
      for (const path of [...posts, '/tokenize', '/detokenize'])
        expect((await post(server.url + path, {}, headers)).status, path).toBe(401);
    }
    expect((await ask(server.url, { prompt: 'x' }, key('a-right-key'))).status).toBe(200);
    for (const path of ['/health', '/']) expect((await raw(server.url + path, {})).status).toBe(200);
  });

  it('are all compared, as digests of one length, whichever is right', () => {
    const guard = new Guard({ host: '127.0.0.1', apiKeys: ['first-key', 'a-second-key-that-is-longer', 'third-key'] });
    for (const given of ['first-key', 'third-key', 'wrong', '', 'first-keX', 'x'.repeat(500)]) {
      compared.length = 0;
      const check = () => guard.checkKey(`Bearer ${given}`);
      if (/^(first|third)-key$/.test(given)) expect(check()).toMatch(/^[0-9a-f]{64}$/);
      else expect(check).toThrow(expect.objectContaining({ code: 'invalid-api-key' }) as Error);
      expect(compared).toEqual([
        [32, 32],
        [32, 32],
        [32, 32],
      ]);
    }
  });

  it('load and unload models; without keys nobody does', async () => {
    await using server = await start();
    for (const what of ['load', 'unload'])
      expect((await post(`${server.url}/v1/models/${what}`, { model: 'scripted' })).status).toBe(403);
  });

  it('part what is kept of prompts, and what was scored of them', async () => {
    await using server = await startServer({ models: brook, apiKeys: ['key-of-alice', 'key-of-bob'] });
    const prompt = 'The old man went down to the river and sat there until the evening came. '.repeat(8);
    const cached = async (name: string, more: object) => {
      const { text } = await ask(server.url, { prompt, max_tokens: 1, ...more }, key(name));
      const { usage } = JSON.parse(text) as { usage: { prompt_tokens_details: { cached_tokens: number } } };
      return usage.prompt_tokens_details.cached_tokens;
    };
    for (const more of [{}, { echo: true, logprobs: 1 }]) {
      await cached('key-of-alice', more);
      expect(await cached('key-of-alice', more)).toBeGreaterThan(0);
    }
    // Nor does the time of an answer tell what another key has asked: nothing of it is at hand.
    expect(await cached('key-of-bob', { echo: true, logprobs: 1 })).toBe(0);
    await using other = await startServer({ models: brook, apiKeys: ['key-of-alice', 'key-of-bob'] });
    await ask(other.url, { prompt, max_tokens: 1 }, key('key-of-alice'));
    const { text } = await ask(other.url, { prompt, max_tokens: 1 }, key('key-of-bob'));
    expect(text).toContain('"cached_tokens":0');
  });
});

describe('limits', () => {
  it('hold for bodies, prompts, texts and what waits', async () => {
    await using server = await start({ limits: { bodyBytes: 20_000, pending: 4, texts: 8 } });
    const long = 'x'.repeat(30_000);
    expect((await ask(server.url, { prompt: long })).status).toBe(413);
    // Without a length ahead too.
    const chunked = await raw(
      `${server.url}/v1/completions`,
      { ...json, 'transfer-encoding': 'chunked' },
      `{"prompt":"${long}"}`,
    );
    expect(chunked.status).toBe(413);
    const { contextLength } = server.scripted.model;
    const ids = await ask(server.url, { prompt: Array.from({ length: contextLength + 1 }, () => 3) });
    expect([ids.status, ids.text]).toEqual([400, expect.stringContaining('context_length_exceeded')]);
    expect((await ask(server.url, { prompt: 'x', n: 9 })).status).toBe(400);
    expect(await ask(server.url, { prompt: 'x', n: 5 })).toMatchObject({
      status: 429,
      headers: { 'retry-after': '1' },
    });
    expect((await ask(server.url, { prompt: 'x', stop: 'y'.repeat(300) })).status).toBe(400);
  });

  it('hold for the time that an answer takes, and free its place', async () => {
    await using server = await start({ limits: { requestSeconds: 0.3 } });
    expect(await ask(server.url, { prompt: 'x' })).toMatchObject({ status: 504 });
    const { status, text } = await ask(server.url, { prompt: 'x', stream: true });
    expect([status, text]).toEqual([504, expect.stringContaining('timeout')]);
    expect((await raw(`${server.url}/metrics`, {})).text).toContain('lfm_texts_pending 0');
  });

  it.each([
    ['headers', 'POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: '],
    [
      'bodies',
      'POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"prompt":',
    ],
  ])('hold for the time that %s take', async (_, begun) => {
    await using server = await start({ limits: { receiveSeconds: 0.3 } });
    const socket = await dial(server.url);
    let said = '';
    socket.on('data', (chunk) => (said += String(chunk)));
    const ended = new Promise((resolve) => socket.once('close', resolve));
    socket.write(begun);
    await ended;
    expect(said).toContain('408');
  });

  it('hold for connections', async () => {
    await using server = await start({ limits: { connections: 2 } });
    const open = await Promise.all([dial(server.url), dial(server.url)]);
    await expect(raw(`${server.url}/health`, {})).rejects.toThrow();
    for (const socket of open) socket.destroy();
    const healthy = () =>
      raw(`${server.url}/health`, {}).then(
        ({ status }) => status,
        () => 0,
      );
    await expect.poll(healthy, { timeout: 5000 }).toBe(200);
  });
});

describe('a client that does not read', () => {
  it('has nothing made for it beyond what its socket takes, and is cut off', async () => {
    const model = 'a'.repeat(400);
    const scripted = await scriptedModel('');
    const count = 60_000;
    await using server = await startServer({
      models: [{ name: model, load: async () => scripted.model }],
      limits: { stallSeconds: 1 },
    });
    scripted.say('x'.repeat(count));
    const socket = await dial(server.url);
    socket.pause();
    const body = JSON.stringify({ prompt: 'x', max_tokens: count, stream: true, model });
    socket.write(
      `POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    const pending = async () => /lfm_texts_pending (\d+)/.exec((await raw(`${server.url}/metrics`, {})).text)?.[1];
    await expect.poll(pending, { timeout: 5000, interval: 5 }).toBe('1');
    // Once the socket takes no more, no more is made.
    let before = -1;
    for (let now = scripted.taken(); now !== before; now = scripted.taken()) {
      before = now;
      await rest(200);
    }
    expect(before).toBeGreaterThan(0);
    expect(before).toBeLessThan(count * 0.9);
    await expect.poll(pending, { timeout: 8000 }).toBe('0');
    expect(scripted.taken()).toBeLessThanOrEqual(before + 1);
    socket.destroy();
  }, 30_000);
});

describe('what a request names', () => {
  let asked = 0;
  const trap = createServer((_, answer) => {
    asked++;
    answer.end('caught');
  });
  let url = '';
  beforeAll(async () => {
    await new Promise<void>((resolve) => trap.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(trap.address() as AddressInfo).port}/x`;
  });
  afterAll(() => trap.close());

  it('is never fetched', async () => {
    await using server = await start();
    const fetched = vi.spyOn(globalThis, 'fetch');
    server.scripted.say(url, url);
    const user = (part: object) => ({ messages: [{ role: 'user', content: [part] }] });
    const bodies = [
      user({ type: 'image_url', image_url: { url } }),
      user({ type: 'input_audio', input_audio: { data: url, format: 'wav' } }),
      user({ type: 'file', file: { file_id: url, file_data: url } }),
      { model: url, ...user({ type: 'text', text: url }) },
      {
        ...user({ type: 'text', text: url }),
        tools: [{ type: 'function', function: { name: 'f', parameters: { $ref: url } } }],
      },
      { ...user({ type: 'text', text: url }), chat_template_kwargs: { include: url } },
      user({ type: 'text', text: `![x](${url}) ${url}` }),
    ];
    const statuses: number[] = [];
    for (const body of bodies) statuses.push((await post(`${server.url}/v1/chat/completions`, body)).status);
    expect(statuses).toEqual([400, 400, 400, 404, 400, 200, 200]);
    for (const path of ['v1/models/load', 'v1/completions', 'tokenize'])
      await post(`${server.url}/${path}`, { model: url, prompt: url });
    await raw(`${server.url}/${url}`, {});
    expect(fetched).not.toHaveBeenCalled();
    fetched.mockRestore();
    expect(asked).toBe(0);
  });
});

describe('the page', () => {
  it('may run no script but its own, load nothing from elsewhere, and stand in no frame', async () => {
    const assets = new Map([['/', { type: 'text/html; charset=utf-8', body: '<p>page' }]]);
    await using server = await start({ assets });
    const { headers } = await raw(server.url, {});
    const policy = String(headers['content-security-policy']).split('; ');
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).toContain("base-uri 'none'");
    expect(policy.join()).not.toMatch(/unsafe-inline|unsafe-eval|\*|https?:/);
    expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' });
  });

  it('is not spoken to in HTML: errors and answers are JSON, whatever they repeat', async () => {
    await using server = await start();
    const evil = '<script>alert(1)</script>';
    for (const answer of [
      await ask(server.url, { prompt: 'x', model: evil }),
      await ask(server.url, { prompt: 'x', [evil]: 1 }),
      await raw(`${server.url}/${encodeURIComponent(evil)}`, {}),
    ]) {
      expect(answer.headers['content-type']).toMatch(/^application\/json/);
      expect(answer.headers['x-content-type-options']).toBe('nosniff');
    }
  });
});
