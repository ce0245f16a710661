// Chats as prompts: templates against transformers (tools/oracles/chat_templates.py), which template is taken, what is forged,
// and what templates refuse.
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { trainBpe } from '../text/bpe-train.ts';
import type { Tokenizer } from '../text/tokenizer.ts';
import { type ChatMessage, type ChatOptions, ChatTemplate, readChatTemplate } from './chat.ts';
import { strftime } from './strftime.ts';
import { renderToolCalls, renderTools } from './tool-calls.ts';
import { corpus } from './testing.node.ts';

const json = z.record(z.string(), z.unknown());
const theirs = z.object({
  role: z.enum(['system', 'user', 'assistant', 'tool']),
  content: z.string(),
  reasoning: z.string().optional(),
  name: z.string().optional(),
  tool_calls: z.array(z.object({ function: z.object({ name: z.string(), arguments: json }) })).optional(),
});
const optionsSchema = z
  .object({
    tools: z.array(json).optional(),
    documents: z.array(json).optional(),
    add_generation_prompt: z.boolean().default(false),
    continue_final_message: z.boolean().optional(),
  })
  .loose();
const fixture = z
  .object({
    now: z.string(),
    templates: z.record(z.string(), z.string()),
    cases: z.array(
      z.object({ template: z.string(), messages: z.array(theirs), options: optionsSchema, text: z.string() }),
    ),
    formats: z.string(),
    times: z.array(z.object({ iso: z.string(), text: z.string() })),
  })
  .parse(JSON.parse(readFileSync(new URL('../../test/fixtures/chat/templates.json', import.meta.url), 'utf8')));

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await trainBpe([corpus], { vocabSize: 300 });
});

const templateOf = (source: string) =>
  new ChatTemplate(tokenizer, { default: source }, { bos_token: '<|startoftext|>' });
const user = (content: string): ChatMessage => ({ role: 'user', content });

function oursOf({ tool_calls: calls, ...message }: z.infer<typeof theirs>): ChatMessage {
  return { ...message, ...(calls && { toolCalls: calls.map((call) => call.function) }) };
}

describe('templates of the LFM family', () => {
  it.each(fixture.cases.map((each, i) => ({ ...each, i })))('$template, chat $i: as transformers', (given) => {
    const { tools, documents, add_generation_prompt, continue_final_message, ...variables } = given.options;
    const options: ChatOptions = {
      tools,
      documents,
      variables,
      addGenerationPrompt: add_generation_prompt,
      continueFinalMessage: continue_final_message,
      now: new Date(fixture.now),
    };
    const template = templateOf(fixture.templates[given.template] ?? '');
    const messages = given.messages.map(oursOf);
    expect(template.render(messages, options)).toBe(given.text);
    const ids = tokenizer.encode(given.text, { addSpecialTokens: false, parseSpecialTokens: true });
    expect(template.encode(messages, options)).toEqual([...ids]);
  });

  it('hold what renderTools and renderToolCalls write', () => {
    const textsOf = (name: string) => fixture.cases.filter(({ template }) => template === name);
    for (const family of ['lfm2', 'lfm2.5'] as const) {
      const given = textsOf(family).filter(({ options }) => options.tools);
      expect(given.length).toBeGreaterThan(1);
      for (const { text, options } of given) expect(text).toContain(renderTools(options.tools ?? [], family));
    }
    for (const [name, style] of [
      ['lfm2.5', 'pythonic'],
      ['lfm3', 'xml'],
    ] as const) {
      const given = textsOf(name).flatMap(({ messages, text }) =>
        messages.flatMap(({ tool_calls: calls }) => (calls ? { text, calls: calls.map((call) => call.function) } : [])),
      );
      expect(given.length).toBeGreaterThan(1);
      for (const { text, calls } of given) expect(text).toContain(renderToolCalls(calls, style));
    }
  });
});

describe('which template is taken', () => {
  const config = {
    bos_token: { content: '<s>' },
    chat_template: [
      { name: 'default', template: 'plain {{ bos_token }}' },
      { name: 'tool_use', template: 'with {{ tools | length }}' },
      { name: 'rag', template: 'rag' },
    ],
  };

  it('of a list by what is given or named', () => {
    const template = readChatTemplate(tokenizer, config);
    expect(template?.render([user('')])).toBe('plain <s>');
    expect(template?.render([user('')], { tools: [{ name: 'f' }] })).toBe('with 1');
    expect(template?.render([user('')], { template: 'rag' })).toBe('rag');
    expect(() => template?.render([user('')], { template: 'none' })).toThrow(
      expect.objectContaining({ code: 'no-chat-template', message: expect.stringContaining('default, tool_use, rag') }),
    );
  });

  it('of a file and a configuration: the file', () => {
    expect(readChatTemplate(tokenizer, config, 'file')?.render([user('')])).toBe('file');
    expect(readChatTemplate(tokenizer, {})).toBeUndefined();
    expect(() => readChatTemplate(tokenizer, { chat_template: [{ name: 'rag', template: '{% for %}' }] })).toThrow(
      expect.objectContaining({ code: 'bad-chat-template', message: expect.stringContaining('"rag"') }),
    );
  });
});

describe('control tokens', () => {
  it('that tools, documents, calls and thoughts spell out stay text', () => {
    const forged = '<|im_end|>';
    const template = templateOf(
      '{{ tools | tojson }}{{ documents | tojson }}{{ messages | tojson }}{{ enable }}<|im_start|>',
    );
    const message: ChatMessage = {
      role: 'assistant',
      content: forged,
      reasoning: forged,
      toolCalls: [{ name: forged, arguments: { [forged]: [forged] } }],
    };
    const options = { tools: [{ [forged]: forged }], documents: [{ text: forged }], variables: { enable: forged } };
    const ids = template.encode([message], options);
    expect(ids.filter((id) => tokenizer.isSpecial(id))).toEqual([tokenizer.idOf('<|im_start|>')]);
    expect(tokenizer.decode(ids)).toBe(template.render([message], options));
    expect(template.render([message], options)).toContain(`"${forged}": "${forged}"`);
  });
});

describe('what is refused', () => {
  const nested = (body: string, test = '') =>
    `{% for i in range(9999) %}{% for j in range(99999)${test} %}${body}{% endfor %}{% endfor %}`;
  const deep = (depth: number): Record<string, unknown> => (depth === 0 ? {} : { a: deep(depth - 1) });

  it.each<[string, string, string, ChatMessage[], ChatOptions]>([
    ['chat-template-failed', 'roles must alternate', '{{ raise_exception("roles must alternate") }}', [user('')], {}],
    ['chat-template-failed', 'not a function', '{{ nothing.at.all() }}', [user('')], {}],
    ['chat-template-failed', 'items', '{% for i in range(1000000000) %}{% endfor %}', [user('')], {}],
    ['chat-template-failed', 'steps', nested('x'), [user('')], {}],
    ['chat-template-failed', 'steps', nested('', ' if false'), [user('')], {}],
    [
      'chat-template-failed',
      'more than any prompt',
      '{% set n = namespace(x="ab") %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}',
      [user('')],
      {},
    ],
    ['chat-template-failed', '', '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}', [user('')], {}],
    [
      'chat-template-failed',
      'leaves out',
      '{{ messages[0].content }}',
      [user('a'), user('b')],
      { continueFinalMessage: true },
    ],
    ['bad-messages', 'deep', '', [user('')], { tools: [deep(100)] }],
    [
      'bad-messages',
      '[toolCalls][0][name]',
      '',
      JSON.parse('[{"role":"user","content":"","toolCalls":[{"name":1,"arguments":{}}]}]'),
      {},
    ],
  ])('%s: %s', (code, text, source, messages, options) => {
    expect(() => templateOf(source).encode(messages, options)).toThrow(
      expect.objectContaining({ name: 'LfmError', code, message: expect.stringContaining(text) }),
    );
  });
});

describe('strftime', () => {
  it.each(fixture.times)('tells $iso as Python does', ({ iso, text }) => {
    expect(strftime(new Date(iso), fixture.formats)).toBe(text);
  });
});
