// Tools and thoughts over the protocol, as OpenAI's client meets them; the model says what each test needs.
import { readFileSync } from 'node:fs';
import OpenAI from 'openai';
import type { ChatCompletionMessageParam, ChatCompletionTool } from 'openai/resources/chat/completions';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, post, raw, scriptedModel, startServer } from './testing.node.ts';
import type { RunningServer } from './index.ts';

const tools: ChatCompletionTool[] = [
  {
    type: 'function',
    function: {
      name: 'weather',
      description: 'Tells the weather.',
      parameters: { type: 'object', properties: { city: { type: 'string' }, days: { type: 'integer' } } },
    },
  },
];
const messages: ChatCompletionMessageParam[] = [{ role: 'user', content: 'Rain in Paris?' }];
const template = readFileSync(new URL('../../test/fixtures/chat/templates.json', import.meta.url), 'utf8');
const { templates } = JSON.parse(template) as { templates: Record<'lfm2' | 'lfm2.5' | 'lfm3' | 'rag', string> };
const PYTHONIC = '<|tool_call_start|>[weather(city="Paris", days=2)]<|tool_call_end|>';
const XML =
  '<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>';
const JSON_CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Paris", "days": 2}}</tool_call>';

interface Spoken {
  content: string;
  reasoning: string;
  calls: { id: string; name: string; arguments: string }[];
  finish: string | null;
}

describe('tools and thoughts', () => {
  let scripted: Awaited<ReturnType<typeof scriptedModel>>;
  let xml: Awaited<ReturnType<typeof scriptedModel>>;
  let server: RunningServer;
  let client: OpenAI;
  beforeAll(async () => {
    scripted = await scriptedModel(templates['lfm2.5']);
    // The fixture's template of LFM3 leaves tools to its caller's system prompt.
    xml = await scriptedModel(`{# tools #}${templates.lfm3}`);
    const bare = await scriptedModel(templates.rag);
    const [free, freeXml] = [
      await scriptedModel(templates['lfm2.5'], false),
      await scriptedModel(`{# tools #}${templates.lfm3}`, false),
    ];
    const names = { pythonic: scripted, xml, bare, free, 'free-xml': freeXml };
    server = await startServer({
      models: [
        ...Object.entries(names).map(([name, { model }]) => ({ name, load: async () => model })),
        { name: 'json', load: async () => xml.model, toolCallStyle: 'json' },
        { name: 'free-json', load: async () => free.model, toolCallStyle: 'json' },
      ],
    });
    client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 });
  });
  afterAll(() => server.close(0));

  async function streamed(model: string, more: object = {}): Promise<Spoken> {
    const spoken: Spoken = { content: '', reasoning: '', calls: [], finish: null };
    const stream = await client.chat.completions.create({ model, messages, tools, ...more, stream: true });
    for await (const { choices } of stream) {
      for (const { delta, finish_reason: finish } of choices) {
        spoken.content += delta.content ?? '';
        spoken.reasoning += (delta as { reasoning_content?: string }).reasoning_content ?? '';
        for (const { index, id = '', function: made } of delta.tool_calls ?? []) {
          const call = (spoken.calls[index] ??= { id, name: made?.name ?? '', arguments: '' });
          call.arguments += made?.arguments ?? '';
        }
        spoken.finish = finish ?? spoken.finish;
      }
    }
    return spoken;
  }

  it.each([
    ['pythonic', PYTHONIC],
    ['xml', XML],
    ['json', JSON_CALL],
  ])('reads calls in the style %s, whole and streamed', async (model, call) => {
    const { say } = model === 'pythonic' ? scripted : xml;
    say(`<think>\nTwo days?\n</think>\n\nLet me look. ${call}`);
    const { choices } = await client.chat.completions.create({ model, messages, tools });
    const [choice] = choices;
    expect(choice).toMatchObject({
      finish_reason: 'tool_calls',
      message: { content: 'Let me look. ', reasoning_content: 'Two days?' },
    });
    const [made] = choice?.message.tool_calls ?? [];
    expect(made).toMatchObject({ type: 'function', id: expect.stringMatching(/^call_[0-9a-f]{24}$/) as string });
    const { name, arguments: given } = made?.type === 'function' ? made.function : { name: '', arguments: '' };
    expect([name, JSON.parse(given)]).toEqual(['weather', { city: 'Paris', days: 2 }]);
    say(`<think>\nTwo days?\n</think>\n\nLet me look. ${call}`);
    const spoken = await streamed(model);
    expect(spoken).toMatchObject({ content: 'Let me look. ', reasoning: 'Two days?', finish: 'tool_calls' });
    expect(spoken.calls).toHaveLength(1);
    expect(JSON.parse(spoken.calls[0]?.arguments ?? '')).toEqual({ city: 'Paris', days: 2 });
  });

  it('puts tools, calls, their answers and names into the prompt as the template has them', async () => {
    scripted.say('It rains.');
    await client.chat.completions.create({
      model: 'pythonic',
      tools,
      messages: [
        ...messages,
        {
          role: 'assistant',
          content: null,
          tool_calls: [
            { id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Paris","days":2}' } },
          ],
        },
        { role: 'tool', tool_call_id: 'call_1', content: ' wet <|im_end|> ' },
      ],
    });
    const prompt = scripted.prompt();
    expect(prompt).toContain(
      'List of tools: [{"type": "function", "function": {"name": "weather", "description": "Tells',
    );
    expect(prompt).toContain(`<|im_start|>assistant\n${PYTHONIC}<|im_end|>`);
    expect(prompt).toContain('<|im_start|>tool\nwet <|im_end|><|im_end|>\n<|im_start|>assistant\n');
    const { model } = scripted;
    const end = model.tokenizer.idOf('<|im_end|>');
    // What the tool said of control tokens is text: the system's, the user's, the assistant's and the tool's ends remain.
    scripted.say('');
    expect(model.tokenizer.encode(prompt, { parseSpecialTokens: true }).filter((id) => id === end)).toHaveLength(5);
  });

  it('goes on to several calls, one where one is wanted, and none where there are no tools', async () => {
    const two = '<|tool_call_start|>[weather(city="A"), weather(city="B")]<|tool_call_end|>';
    scripted.say(two, two, two, two);
    const all = await streamed('pythonic');
    expect(all.calls.map(({ arguments: given }) => given)).toEqual(['{"city":"A"}', '{"city":"B"}']);
    expect(new Set(all.calls.map(({ id }) => id)).size).toBe(2);
    expect((await streamed('pythonic', { parallel_tool_calls: false })).calls).toHaveLength(1);
    for (const more of [{ tools: undefined }, { tool_choice: 'none' }]) {
      const none = await streamed('pythonic', more);
      expect(none).toMatchObject({ calls: [], finish: 'stop', content: '[weather(city="A"), weather(city="B")]' });
      expect(scripted.prompt()).not.toContain('List of tools');
    }
  });

  it.each(['free', 'free-xml', 'free-json'])(
    'keeps a model of no sense to calls that must come [%s]',
    async (model) => {
      const place = { type: 'string', enum: ['Paris', 'Rome'] };
      const parameters = {
        type: 'object',
        properties: { place, days: { type: 'integer', minimum: 1, maximum: 9 } },
        required: ['place', 'days'],
      };
      const both: ChatCompletionTool[] = [
        { type: 'function', function: { name: 'sky', parameters, strict: true } },
        { type: 'function', function: { name: 'sea', parameters } },
      ];
      for (const choice of ['required', { type: 'function', function: { name: 'sea' } }] as const) {
        const more = { tools: both, tool_choice: choice, seed: 5, chat_template_kwargs: { enable_thinking: false } };
        const spoken = await streamed(model, { ...more, logit_bias: {}, max_tokens: 2000 });
        expect(spoken).toMatchObject({ content: '', finish: 'tool_calls' });
        for (const { name, arguments: given } of spoken.calls) {
          if (choice !== 'required') expect(name).toBe('sea');
          expect(['sky', 'sea']).toContain(name);
          expect(JSON.parse(given)).toEqual({
            place: expect.stringMatching(/^(Paris|Rome)$/) as string,
            days: expect.any(Number) as number,
          });
        }
      }
    },
  );

  it('shows a broken call as text, and says that a call was cut', async () => {
    scripted.say('<|tool_call_start|>[weather(city=]<|tool_call_end|>', PYTHONIC);
    expect(await streamed('pythonic')).toMatchObject({ calls: [], finish: 'stop' });
    expect(await streamed('pythonic', { max_tokens: 3 })).toMatchObject({ calls: [], finish: 'length' });
  });

  it('tells the probability of every token, those of calls and thoughts too', async () => {
    const text = `<think>\nHm.\n</think>\nYes. ${PYTHONIC}`;
    scripted.say(text, text);
    const { choices } = await client.chat.completions.create({ model: 'pythonic', messages, tools, logprobs: true });
    const whole = choices[0]?.logprobs?.content?.map(({ token }) => token) ?? [];
    expect(whole.join('')).toBe(text);
    const stream = await client.chat.completions.create({
      model: 'pythonic',
      messages,
      tools,
      logprobs: true,
      stream: true,
    });
    const pieces: string[] = [];
    for await (const {
      choices: [choice],
    } of stream)
      pieces.push(...(choice?.logprobs?.content ?? []).map(({ token }) => token));
    expect(pieces).toEqual(whole);
  });

  it.each([
    ['a call that must come of no tool', { tool_choice: 'required' }, 'tool_choice'],
    ['a call of another tool', { tools, tool_choice: { type: 'function', function: { name: 'wind' } } }, 'wind'],
    ['a choice that is none', { tools, tool_choice: 'always' }, 'tool_choice'],
    ['a call beside a format', { tools, tool_choice: 'required', response_format: { type: 'json_object' } }, 'one of'],
    ['strict arguments that cannot be kept', { tools: [strictTool({ not: {} })] }, 'cannot be followed'],
    [
      'a name that the model cannot write',
      { tools: [strictTool({ type: 'object', properties: { 'a b': {} } })] },
      'a b',
    ],
    ['a tool without a name', { tools: [{ type: 'function', function: {} }] }, 'name'],
    ['an answer to no call', { messages: [{ role: 'tool', tool_call_id: 'x', content: '' }] }, 'tool_call_id'],
    ['arguments that are no JSON', { messages: [assistant('{')] }, 'arguments'],
    ['arguments that are a list', { messages: [assistant('[]')] }, 'arguments'],
    ['what a message does not have', { messages: [{ role: 'user', content: '', tool_calls: [] }] }, 'tool_calls'],
    ['a picture', { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] }, 'text'],
    ['tools of a model without a place for them', { model: 'bare', tools }, 'no place'],
  ])('refuses %s', async (_, more, said) => {
    const answer = await post(`${server.url}/v1/chat/completions`, { model: 'pythonic', messages, ...more });
    expect(answer.status).toBe(400);
    expect(answer.text).toContain(said);
  });

  it('refuses what is nested without end', async () => {
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    const body = JSON.stringify({ model: 'pythonic', messages, tools: ['DEEP'] }).replace(
      '"DEEP"',
      `{"type":"function","function":{"name":"f","parameters":{"a":${deep}}}}`,
    );
    const { status, text } = await raw(
      `${server.url}/v1/chat/completions`,
      { 'content-type': 'application/json' },
      body,
    );
    expect(status).toBe(400);
    expect(text).toContain('nested');
    scripted.say('');
    expect((await ask(server.url, { model: 'pythonic', prompt: 'x', max_tokens: 1 })).status).toBe(200);
  });
});

function strictTool(parameters: object) {
  return { type: 'function', function: { name: 'f', strict: true, parameters } };
}

function assistant(given: string) {
  return {
    role: 'assistant',
    tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: given } }],
  };
}
