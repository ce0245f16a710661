// OpenAI's protocol over the line between a page and its worker, with OpenAI's own client in the page's place.
import { readFileSync } from 'node:fs';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { scriptedModel } from '../serve/testing.node.ts';
import { answerOn } from './answering.ts';
import { Talk, TabModel } from './client.ts';

const fixture = readFileSync(new URL('../../test/fixtures/chat/templates.json', import.meta.url), 'utf8');
const { templates } = JSON.parse(fixture) as { templates: Record<'lfm2.5', string> };
const tools = [
  { type: 'function' as const, function: { name: 'weather', parameters: { type: 'object', properties: {} } } },
];
const messages = [{ role: 'user' as const, content: 'Rain?' }];

let scripted: Awaited<ReturnType<typeof scriptedModel>>;
let tab: TabModel;
let client: OpenAI;
const { port1, port2 } = new MessageChannel();

beforeAll(async () => {
  scripted = await scriptedModel(templates['lfm2.5']);
  const { model } = scripted;
  answerOn(port2, async () => ({ model, memory: () => ({ heapBytes: 0, bufferBytes: 0 }) }));
  port1.start();
  port2.start();
  const talk = new Talk(port1);
  for await (const _ of talk.ask({ kind: 'load', url: 'scripted', settings: {} }));
  const info = { name: 'scripted', engine: model.engine, contextLength: model.contextLength, chats: true };
  tab = new TabModel(talk, info, () => port1.close());
  client = new OpenAI({ baseURL: 'http://tab/v1', apiKey: 'none', fetch: tab.fetch, maxRetries: 0 });
});
afterAll(async () => {
  await tab[Symbol.asyncDispose]();
  await scripted.model[Symbol.asyncDispose]();
});

it('tells thoughts, calls and probabilities, whole and as a stream', async () => {
  const said = '<think>Where?</think>Let me see.<|tool_call_start|>[weather(city="Paris")]<|tool_call_end|>';
  const asked = { model: 'scripted', messages, tools, logprobs: true, top_logprobs: 2 };
  scripted.say(said);
  const { choices } = await client.chat.completions.create(asked);
  expect(choices[0]?.message.content).toBe('Let me see.');
  expect(choices[0]?.message).toMatchObject({ reasoning_content: 'Where?' });
  const [call] = choices[0]?.message.tool_calls ?? [];
  expect(call).toMatchObject({ function: { name: 'weather', arguments: '{"city":"Paris"}' } });
  expect(choices[0]?.logprobs?.content?.map(({ token }) => token).join('')).toBe(said);

  scripted.say(said);
  let [text, given] = ['', ''];
  const reasons: (string | null)[] = [];
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
    for (const { delta, finish_reason: reason } of chunk.choices) {
      text += delta.content ?? '';
      given += delta.tool_calls?.[0]?.function?.arguments ?? '';
      if (reason !== null) reasons.push(reason);
    }
  }
  expect([text, given, reasons]).toEqual(['Let me see.', '{"city":"Paris"}', ['tool_calls']]);
});

it('refuses as the server does', async () => {
  await expect(client.chat.completions.create({ model: 'other', messages })).rejects.toMatchObject({ status: 404 });
  const schema = { $ref: '#' };
  const format = { type: 'json_schema' as const, json_schema: { name: 'a', schema } };
  await expect(
    client.chat.completions.create({ model: 'scripted', messages, response_format: format }),
  ).rejects.toMatchObject({ status: 400, code: 'bad_schema' });
  expect((await tab.fetch('http://tab/v1/nothing')).status).toBe(404);
});
