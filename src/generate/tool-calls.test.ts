// Calls of tools and thoughts in the text of models: read whole and in pieces, written and read back, and what is hostile.
import { describe, expect, it } from 'vitest';
import { Random } from '../tensor/random.ts';
import { parsePythonCalls } from './python-calls.ts';
import { parseToolCalls, type ReplyPart, ReplyParts, type ReplyPartsOptions } from './reply-parts.ts';
import { renderToolCalls, renderTools, type Tool, type ToolCall, type ToolCallStyle } from './tool-calls.ts';

const weather: Tool = {
  type: 'function',
  function: {
    name: 'weather',
    parameters: {
      type: 'object',
      properties: {
        city: { type: 'string' },
        days: { type: 'integer' },
        exact: { type: 'boolean' },
        near: { type: ['object', 'null'] },
        tags: { type: 'array' },
        share: { type: 'number' },
      },
    },
  },
};
const call = (name: string, given: ToolCall['arguments'] = {}): ToolCall => ({ name, arguments: given });
const wrapped = (body: string) => `<|tool_call_start|>${body}<|tool_call_end|>`;
const python = (body: string) => parseToolCalls(wrapped(body), 'pythonic').calls;

describe("the style 'pythonic'", () => {
  it.each<[string, ToolCall[]]>([
    ['[weather(city="Paris", days=2)]', [call('weather', { city: 'Paris', days: 2 })]],
    ["[a(), b(x='y',)]", [call('a'), call('b', { x: 'y' })]],
    ['weather(city="Paris")', [call('weather', { city: 'Paris' })]],
    ['a(x=1)\nb(y=2)', [call('a', { x: 1 }), call('b', { y: 2 })]],
    ['a(x=1), b()', [call('a', { x: 1 }), call('b')]],
    ['[ api.v2.find ( q = True , n = None , f = -1.5e3 ) ]', [call('api.v2.find', { q: true, n: null, f: -1500 })]],
    [
      '[f(a=[1, [2, "x"]], b={"k": {"l": false}}, c=(1, 2), d=(3), e=(4,))]',
      [call('f', { a: [1, [2, 'x']], b: { k: { l: false } }, c: [1, 2], d: 3, e: [4] })],
    ],
    [
      String.raw`[f(a="q\"\n\t\\ \x41 \u00e9 \ud83d\ude00 \U0001F600 \d", b=r'\n', c="""two
lines""", d="a" 'b')]`,
      [call('f', { a: 'q"\n\t\\ A é 😀 😀 \\d', b: '\\n', c: 'two\nlines', d: 'ab' })],
    ],
    [
      '[f(a="[(<|tool_call_start|>)]", größe=1_000, h=0x1F) # why\n]',
      [call('f', { a: '[(<|tool_call_start|>)]', größe: 1000, h: 31 })],
    ],
  ])('reads %s', (body, calls) => expect(python(body)).toEqual(calls));

  it.each([
    '',
    '[]',
    'hello',
    '[f(1)]',
    '[f(a=1]',
    '[f(a="x)]',
    '[f(a=1, a=2)]',
    'f(a=1) and more',
    '[f(a=1e999)]',
    '[f(a=x)]',
    '[f(a=b())]',
    '[f(a={[1]: 2})]',
    '[f(a="\\UFFFFFFFF")]',
    `[f(a=${'['.repeat(40)}${']'.repeat(40)})]`,
    '{"name": "f"}',
  ])('gives back %s as text', (body) => {
    expect(parseToolCalls(wrapped(body), 'pythonic')).toEqual({ text: wrapped(body), reasoning: '', calls: [] });
  });

  it('keeps names of a prototype as names', () => {
    const [found] = python('[f(__proto__={"constructor": 1})]');
    expect(Object.keys(found?.arguments ?? {})).toEqual(['__proto__']);
    expect(Object.getPrototypeOf(found?.arguments)).toBe(Object.prototype);
  });
});

describe("the style 'json'", () => {
  it.each<[string, ToolCall[]]>([
    [wrapped('[{"name": "f", "arguments": {"a": [1]}}, {"name": "g"}]'), [call('f', { a: [1] }), call('g')]],
    [wrapped('{"name": "f", "parameters": {"a": 1}}'), [call('f', { a: 1 })]],
    ['<tool_call>\n{"name": "f", "arguments": "{\\"a\\": 1}"}\n</tool_call>', [call('f', { a: 1 })]],
  ])('reads %s', (text, calls) => expect(parseToolCalls(text, 'json')).toEqual({ text: '', reasoning: '', calls }));

  it.each([
    '[]',
    '{}',
    '[{"name": 1}]',
    '{"name": "f", "arguments": [1]}',
    '{"name": "f"',
    '{"name":"f","arguments":"x"}',
  ])('gives back %s as text', (body) => expect(parseToolCalls(wrapped(body), 'json').text).toBe(wrapped(body)));
});

describe("the style 'xml'", () => {
  const read = (body: string) => parseToolCalls(`<tool_call>${body}</tool_call>`, 'xml', { tools: [weather] }).calls;

  it.each<[string, ToolCall[]]>([
    ['<function=weather><parameter=city>Paris</parameter></function>', [call('weather', { city: 'Paris' })]],
    [
      '\n<function=weather>\n<parameter=days>\n2\n</parameter>\n<parameter=city>\n 2 \n</parameter>\n</function>\n',
      [call('weather', { days: 2, city: ' 2 ' })],
    ],
    [
      '<function=weather><parameter=exact>True</parameter><parameter=near>None</parameter><parameter=tags>["a"]</parameter></function>',
      [call('weather', { exact: true, near: null, tags: ['a'] })],
    ],
    [
      '<function=weather><parameter=days>two</parameter><parameter=share>1</parameter></function>',
      [call('weather', { days: 'two', share: 1 })],
    ],
    [
      '<function=other><parameter=n>2</parameter><parameter=t>a<b>\n\nc</parameter></function>',
      [call('other', { n: '2', t: 'a<b>\n\nc' })],
    ],
    ['<function=a></function><function=b></function>', [call('a'), call('b')]],
  ])('reads %s', (body, calls) => expect(read(body)).toEqual(calls));

  it.each([
    '',
    'x',
    '<function=f>',
    '<function=f><parameter=a>1</function>',
    '<function=f></function> more',
    '<function=></function>',
  ])('gives back %s as text', (body) =>
    expect(parseToolCalls(`<tool_call>${body}</tool_call>`, 'xml').text).toBe(`<tool_call>${body}</tool_call>`),
  );
});

describe('thoughts', () => {
  it.each<[string, ReplyPartsOptions, string, string]>([
    ['<think>\nhm\n</think>\n\nYes.', {}, 'hm', 'Yes.'],
    ['hm\n</think>\n\nYes.', { startsThinking: true }, 'hm', 'Yes.'],
    ['</think>\n\nYes.', {}, '', 'Yes.'],
    ['Yes </think> no', {}, '', 'Yes </think> no'],
    ['<think>never ends\n\n', {}, 'never ends', ''],
    ['a<think>b</think>c<think>d</think>', {}, 'bd', 'ac'],
    [`<think>I could ${wrapped('[f()]')}</think>`, {}, `I could ${wrapped('[f()]')}`, ''],
  ])('are told apart in %j', (reply, options, reasoning, text) => {
    expect(parseToolCalls(reply, 'pythonic', options)).toEqual({ text, reasoning, calls: [] });
  });
});

describe('a reply in pieces', () => {
  const replies: [string, ToolCallStyle][] = [
    [
      `<think>\n\nlet me\n\nsee\n</think>\n\nLooking it up. ${wrapped('[f(a="x"), g(b=1)]')}\nOne moment. ${wrapped('[f(')}`,
      'pythonic',
    ],
    [`a < b <| <|tool_call ${wrapped('not a call')}${wrapped('[h()]')} <think`, 'pythonic'],
    [
      'x<tool_call><function=f><parameter=a>1</parameter></function></tool_call>y</think></tool_call><tool_call>',
      'xml',
    ],
    [`${wrapped('{"name": "f"}')}<tool_call>{"name": "g"}</tool_call>`, 'json'],
  ];

  it.each(replies)('is the same wherever %j is cut', (reply, style) => {
    const whole = parseToolCalls(reply, style);
    const random = new Random(7);
    for (let run = 0; run < 200; run++) {
      const parts = new ReplyParts({ style });
      const seen: ReplyPart[] = [];
      for (let at = 0; at < reply.length;) {
        const next = run === 0 ? at + 1 : at + 1 + Math.floor(random.uniform() * 12);
        seen.push(...parts.push(reply.slice(at, next)));
        at = next;
      }
      seen.push(...parts.flush());
      const textOf = (type: string) =>
        seen.map((part) => (part.type !== 'call' && part.type === type ? part.text : '')).join('');
      expect({
        text: textOf('text'),
        reasoning: textOf('reasoning'),
        calls: seen.flatMap((part) => (part.type === 'call' ? part.call : [])),
      }).toEqual(whole);
    }
  });

  it('shows text as soon as it can be no marker', () => {
    const parts = new ReplyParts({ style: 'pythonic' });
    expect(parts.push('Hello <')).toEqual([{ type: 'text', text: 'Hello ' }]);
    expect(parts.push('b> there<|tool')).toEqual([{ type: 'text', text: '<b> there' }]);
    expect(parts.push('_call_start|>f()<|tool_call_end|>')).toEqual([{ type: 'call', call: call('f') }]);
    expect(parts.flush()).toEqual([]);
  });
});

describe('hostile output', () => {
  it.each<[string, string]>([
    ['openings', '<|tool_call_start|>'.repeat(50_000)],
    ['thoughts', '<think></think>'.repeat(50_000)],
    ['depth', wrapped(`[f(a=${'['.repeat(200_000)}`)],
    ['calls of nothing', wrapped('').repeat(20_000)],
    ['an endless call', `<|tool_call_start|>[f(a="${'x'.repeat(3 << 20)}")]<|tool_call_end|>`],
    ['quotes', wrapped(`[f(a=${'"'.repeat(100_001)})]`)],
    ['spaces', wrapped(`[f(a=${' '.repeat(500_000)}`)],
  ])('of %s ends, and nothing of it is lost', (_, reply) => {
    const { text } = parseToolCalls(reply, 'pythonic');
    // Of thoughts the markers go; all else is text as it stands.
    expect(text.length).toBe(reply.startsWith('<think>') ? 0 : reply.length);
  });

  it('of JSON and XML does so too', () => {
    const deep = wrapped(`${'[{"name":'.repeat(50_000)}`);
    expect(parseToolCalls(deep, 'json').text).toBe(deep);
    const long = `<tool_call>${'<function=f></function>'.repeat(20_000)}<function=`;
    expect(parseToolCalls(long, 'xml').text).toBe(long);
  });

  it('of any kind never throws, and gives back all text of what is no call', () => {
    const tokens = [
      '<|tool_call_start|>',
      '<|tool_call_end|>',
      '[',
      ']',
      'f(',
      ')',
      'a=',
      '"',
      "'",
      '\\',
      ',',
      '{',
      '}',
      ':',
      '1',
      'e',
      '.',
    ];
    const random = new Random(11);
    for (let run = 0; run < 3000; run++) {
      const length = Math.floor(random.uniform() * 30);
      const reply = Array.from({ length }, () => tokens[Math.floor(random.uniform() * tokens.length)] ?? '').join('');
      const { text, calls } = parseToolCalls(reply, 'pythonic');
      if (calls.length === 0) expect(text).toBe(reply);
    }
  });
});

describe('rendering', () => {
  const strings = ['', 'a', 'it\'s "so"', 'line\nbreak\t\\', '😀 é', '\u0000', '</x>', '  '];
  const values: unknown[] = [
    ...strings,
    0,
    -1.5,
    1e21,
    true,
    false,
    null,
    [],
    [1, ['x']],
    {},
    { k: { 'l m': [null] } },
  ];

  it.each<ToolCallStyle>(['pythonic', 'json', 'xml'])("writes what it reads, in the style '%s'", (style) => {
    // Without a schema the values of XML are texts.
    const usable = style === 'xml' ? strings : values;
    const calls = [call('f', Object.fromEntries(usable.map((value, i) => [`p${i}`, value]))), call('g')];
    expect(parseToolCalls(renderToolCalls(calls, style), style)).toMatchObject({
      text: style === 'xml' ? '\n' : '',
      calls,
    });
  });

  it('writes what XML needs a schema to read', () => {
    const given = { days: 2, exact: false, near: { a: [1] }, tags: [], share: 0.5, city: '3' };
    const text = renderToolCalls([call('weather', given)], 'xml');
    expect(parseToolCalls(text, 'xml', { tools: [weather] }).calls).toEqual([call('weather', given)]);
  });

  it('writes none and nothing', () => {
    expect([renderToolCalls([], 'pythonic'), renderTools([], 'lfm2')]).toEqual(['', '']);
    expect(parsePythonCalls('')).toBeUndefined();
  });
});
