// Structured output over HTTP, with OpenAI's own client.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { load } from '../generate/load.ts';
import { writeModelFolder } from '../generate/testing.node.ts';
import { serve } from './index.ts';
import type { RunningServer } from './server.node.ts';

const shape = z.strictObject({ kind: z.enum(['brook', 'mill']), wet: z.boolean() });
const format = {
  type: 'json_schema',
  json_schema: { name: 'place', strict: true, schema: z.toJSONSchema(shape) },
} as const;

describe('structured output [onnx]', () => {
  let folder: string;
  let server: RunningServer;
  let client: OpenAI;
  const failures: unknown[] = [];
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lfm-structured-'));
    await writeModelFolder(folder, { chats: true });
    const open = () => load(folder, { engine: { name: 'onnx', threads: 1 } });
    server = await serve({
      models: [{ name: 'tiny', load: open }],
      port: 0,
      onFailure: (error) => failures.push(error),
    });
    await server.ready;
    client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 });
  });
  afterAll(async () => {
    await server.close(0);
    await rm(folder, { recursive: true });
  });

  const messages = [{ role: 'user', content: 'Where to?' }] as const;
  const asked = { model: 'tiny', messages: [...messages], seed: 3 };

  it('answers with JSON of a schema, whole and as a stream', async () => {
    const whole = await client.chat.completions.create({ ...asked, response_format: format, n: 2 });
    for (const { message, finish_reason: reason } of whole.choices) {
      shape.parse(JSON.parse(message.content ?? ''));
      expect(reason).toBe('stop');
    }
    let text = '';
    for await (const { choices } of await client.chat.completions.create({
      ...asked,
      response_format: format,
      stream: true,
    }))
      text += choices[0]?.delta.content ?? '';
    expect(text).toBe(whole.choices[0]?.message.content);
  });

  it('answers with an object, a pattern or a grammar', async () => {
    const any = await client.chat.completions.create({
      ...asked,
      response_format: { type: 'json_object' },
      max_tokens: 40,
    });
    expect(any.choices[0]?.message.content).toMatch(/^\{/);
    const post = async (more: object) => {
      const sent = await fetch(`${server.url}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: 'It', max_tokens: 60, ...more }),
      });
      return z.object({ choices: z.array(z.object({ text: z.string() })) }).parse(await sent.json()).choices[0]?.text;
    };
    expect(await post({ regex: 'down(, down){2}\\.' })).toBe('down, down, down.');
    expect(await post({ grammar: 'root ::= "yes" | "no"' })).toMatch(/^(yes|no)$/);
  });

  it.each([
    ['bad_schema', { response_format: { type: 'json_schema', json_schema: { name: 'a', schema: { $ref: '#' } } } }],
    [
      'bad_schema',
      { response_format: { type: 'json_schema', json_schema: { name: 'a', schema: { not: {} } } }, stream: true },
    ],
    ['bad_regex', { regex: '(' }],
    ['bad_grammar', { grammar: 'nothing' }],
    ['bad_limit', { regex: 'a', response_format: { type: 'json_object' } }],
    ['invalid_request', { response_format: { type: 'json_schema' } }],
    ['invalid_request', { response_format: { type: 'yaml' } }],
  ])('%s: 400', async (code, more) => {
    const sent = await fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...asked, ...more }),
    });
    expect([sent.status, await sent.json()]).toMatchObject([400, { error: { code, type: 'invalid_request_error' } }]);
    expect(failures).toEqual([]);
  });
});
