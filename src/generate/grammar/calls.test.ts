// Calls kept to their tools' schemas: whatever the grammar lets through is read back as calls whose arguments fit, in every style.
import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { Random } from '../../tensor/random.ts';
import { trainBpe } from '../../text/bpe-train.ts';
import { Tokenizer } from '../../text/tokenizer.ts';
import { parseToolCalls } from '../reply-parts.ts';
import { corpus } from '../testing.node.ts';
import { callMarkers, type ToolCallStyle } from '../tool-calls.ts';
import type { AskedCalls } from './calls.ts';
import { constraintOf, grammarOf } from './index.ts';

const tool = (name: string, parameters: object) => ({ type: 'function', function: { name, parameters } });
const weather = tool('weather', {
  type: 'object',
  properties: {
    city: { type: 'string' },
    unit: { type: 'string', enum: ['c', 'f'] },
    days: { type: 'integer', minimum: 1, maximum: 14 },
    exact: { type: 'boolean' },
    places: { type: 'array', items: { $ref: '#/$defs/place' }, maxItems: 2 },
  },
  $defs: { place: { type: 'object', properties: { x: { type: ['number', 'null'] } }, required: ['x'] } },
  required: ['city', 'days'],
});
const stop = tool('stop', { type: 'object', properties: {} });
const shapes = {
  weather: z.strictObject({
    city: z.string(),
    unit: z.enum(['c', 'f']).optional(),
    days: z.int().min(1).max(14),
    exact: z.boolean().optional(),
    places: z
      .array(z.strictObject({ x: z.number().nullable() }))
      .max(2)
      .optional(),
  }),
  stop: z.strictObject({}),
};
const asked = (style: ToolCallStyle, more: Partial<AskedCalls> = {}): AskedCalls => {
  const [markers = { open: '', close: '' }] = callMarkers[style];
  return { tools: [weather, stop], style, markers, isRequired: true, most: 3, thinks: 'never', kept: [], ...more };
};
const trained = (await trainBpe([corpus], { vocabSize: 400 })).definition;
const controls = ['<|tool_call_start|>', '<|tool_call_end|>'].map((content, i) => ({
  id: trained.tokens.length + i,
  content,
  special: true,
  normalized: false,
}));
const tokenizer = new Tokenizer({ ...trained, addedTokens: [...trained.addedTokens, ...controls] });
const kept = controls.map(({ id }) => id);
const END = tokenizer.idOf('<|im_end|>') ?? 0;

/** What a model of random numbers writes, which likes what ends things; undefined where it comes to no end. */
function written(calls: AskedCalls, seed: number): string | undefined {
  const random = new Random(seed);
  const matcher = constraintOf({ calls }, tokenizer, false).begin([END]);
  const ids: number[] = [];
  for (let i = 0; i < 300; i++) {
    const logits = Float32Array.from({ length: tokenizer.vocabSize }, (_, id) => {
      const text = id === END ? '"' : tokenizer.decode([id], { skipSpecialTokens: false });
      return random.normal() * 2 + (/^["\])},<\n]/.test(text) ? 4 : 0);
    });
    matcher.apply(logits);
    const id = logits.indexOf(Math.max(...logits));
    if (id === END) return tokenizer.decode(ids, { skipSpecialTokens: false });
    matcher.accept(id);
    ids.push(id);
    if (matcher.isOver) return tokenizer.decode(ids, { skipSpecialTokens: false });
  }
  return undefined;
}

const allows = (calls: AskedCalls, text: string): boolean => {
  const grammar = grammarOf({ calls }, tokenizer);
  return grammar.advance(grammar.start, new TextEncoder().encode(text))?.isComplete ?? false;
};

describe.each<[string, AskedCalls]>([
  ['pythonic', asked('pythonic', { kept })],
  ['json', asked('json', { kept })],
  ['json between tags', asked('json', { markers: { open: '<tool_call>', close: '</tool_call>' } })],
  ['xml', asked('xml')],
])('calls in the style %s', (_, calls) => {
  it('fit their schemas, whatever the model writes', () => {
    let whole = 0;
    for (let seed = 0; seed < 14; seed++) {
      const text = written(calls, seed);
      if (text === undefined) continue;
      whole++;
      const found = parseToolCalls(text, calls.style, { tools: calls.tools });
      expect([found.text.trim(), found.reasoning], text).toEqual(['', '']);
      expect(found.calls.length, text).toBeGreaterThan(0);
      expect(found.calls.length).toBeLessThanOrEqual(3);
      for (const { name, arguments: given } of found.calls)
        expect(shapes[name as keyof typeof shapes].safeParse(given).error, text).toBeUndefined();
    }
    expect(whole).toBeGreaterThan(3);
  });

  it('may stand in a text, or not, where none must come', () => {
    const free = { ...calls, isRequired: false };
    const { open, close } = calls.markers;
    expect(allows(free, 'It is <b>wet</b> < 3.')).toBe(true);
    expect(allows(free, `So: ${open}no call${close}`)).toBe(false);
    expect(allows(calls, 'It rains.')).toBe(false);
    for (let seed = 0, found = 0; found < 1; seed++) {
      const text = written(calls, seed);
      if (text === undefined) continue;
      found++;
      expect(allows(free, `Let me see ${open.slice(0, 5)}. ${text} There.`)).toBe(true);
      expect(allows({ ...calls, thinks: 'begun' }, `Hm ${open}</think>\n${text}`)).toBe(true);
      expect(allows({ ...calls, thinks: 'maybe' }, `<think>Hm</think>${text}`)).toBe(true);
      expect(allows(calls, `<think>Hm</think>${text}`)).toBe(false);
    }
  });
});

describe('what calls may hold', () => {
  it("is written as the model's notation has it", () => {
    const python = (body: string) => allows(asked('pythonic'), `<|tool_call_start|>${body}<|tool_call_end|>`);
    expect(python('[weather(city="a", days=2, exact=True, places=[{"x": None}]), stop()]')).toBe(true);
    expect(python('[weather(city="a", days=2, exact=true)]')).toBe(false);
    expect(python('[weather(city="a")]')).toBe(false);
    expect(python('[weather(city="a", days=20)]')).toBe(false);
    expect(python(String.raw`[weather(city="\u003c|tool_call_end|>", days=2)]`)).toBe(true);
    const xml = (city: string) =>
      allows(
        asked('xml'),
        `<tool_call>\n<function=weather>\n<parameter=city>\n${city}\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>`,
      );
    expect([xml('if a < b << "c"\n'), xml('</parameter>')]).toEqual([true, false]);
  });

  it.each<[string, ToolCallStyle, object]>([
    ['a name', 'pythonic', { properties: { 'two words': { type: 'string' } } }],
    ['a name', 'xml', { properties: { 'a>b': { type: 'string' } } }],
    ['"type"', 'xml', { properties: { a: { anyOf: [{ type: 'string' }, { type: 'null' }] } } }],
    ['cannot be followed', 'pythonic', { anyOf: [{ properties: {} }] }],
    ['cannot be followed', 'json', { type: 'object', properties: { a: { not: {} } } }],
    ['"</"', 'xml', { properties: { a: { type: 'string', enum: ['</parameter>'] } } }],
  ])('is refused where there is no way to write it: %s (%s)', (said, style, parameters) => {
    const calls = asked(style, { tools: [tool('f', parameters)] });
    expect(() => grammarOf({ calls }, tokenizer)).toThrow(
      expect.objectContaining({
        code: 'bad-tools',
        message: expect.stringContaining(said.replace('a name', 'the name')) as string,
      }),
    );
  });
});
