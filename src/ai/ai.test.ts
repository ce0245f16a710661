// The provider as the AI SDK calls it: the same answers in this process and over HTTP. The package `ai` itself, which wants
// Node 22, runs in examples/ai-sdk.
import { readFileSync } from 'node:fs';
import { APICallError } from '@ai-sdk/provider';
import type { LanguageModelV4CallOptions, LanguageModelV4StreamPart } from '@ai-sdk/provider';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { load } from '../generate/load.ts';
import type { LanguageModel } from '../generate/model.ts';
import type { RunningServer } from '../serve/index.ts';
import { scriptedModel, startServer } from '../serve/testing.node.ts';
import type { TabModel } from '../web/client.ts';
import type { LfmProvider, LocalModel } from './index.ts';
import { createLfm } from './index.ts';

const fixture = readFileSync(new URL('../../test/fixtures/chat/templates.json', import.meta.url), 'utf8');
const { templates } = JSON.parse(fixture) as { templates: Record<'lfm2.5' | 'rag', string> };
const tools: LanguageModelV4CallOptions['tools'] = [
  {
    type: 'function',
    name: 'weather',
    inputSchema: { type: 'object', properties: { city: { type: 'string' } } },
  },
];
const CALLS =
  '<think>Where?</think>Let me see.<|tool_call_start|>[weather(city="Paris"), weather(city="Rome")]<|tool_call_end|>';
const prompt: LanguageModelV4CallOptions['prompt'] = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: [{ type: 'text', text: 'Rain?' }] },
];
type Message = LanguageModelV4CallOptions['prompt'][number];
const key = 'a-key-of-ours';

let scripted: Awaited<ReturnType<typeof scriptedModel>>;
let bare: Awaited<ReturnType<typeof scriptedModel>>;
let brook: LanguageModel;
let server: RunningServer;
const providers: Partial<Record<string, LfmProvider>> = {};

beforeAll(async () => {
  [scripted, bare, brook] = await Promise.all([
    scriptedModel(templates['lfm2.5']),
    scriptedModel(templates.rag),
    load('brook-7m', { engine: { name: 'onnx', threads: 1 } }),
  ]);
  const models = { scripted: scripted.model, bare: bare.model, 'brook-7m': brook };
  server = await startServer({
    models: Object.entries(models).map(([name, model]) => ({ name, load: async () => model })),
    apiKeys: [key],
  });
  providers['in this process'] = createLfm({ models });
  providers['over HTTP'] = createLfm({ baseURL: `${server.url}/v1/`, apiKey: key });
});
afterAll(() => server.close(0));

function providerOf(way: string): LfmProvider {
  const provider = providers[way];
  if (!provider) throw new Error(`no provider ${way}`);
  return provider;
}

async function partsOf(
  provider: LfmProvider,
  options: LanguageModelV4CallOptions,
): Promise<LanguageModelV4StreamPart[]> {
  const { stream } = await provider('scripted').doStream(options);
  return all(stream);
}

async function all(stream: ReadableStream<LanguageModelV4StreamPart>): Promise<LanguageModelV4StreamPart[]> {
  const parts: LanguageModelV4StreamPart[] = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

const textOf = (parts: readonly LanguageModelV4StreamPart[], type: 'text-delta' | 'reasoning-delta') =>
  parts.map((part) => (part.type === type ? part.delta : '')).join('');

describe.each(['in this process', 'over HTTP'])('the provider, %s', (way) => {
  it('streams thoughts, text and calls in blocks', async () => {
    scripted.say(CALLS);
    const parts = await partsOf(providerOf(way), { prompt, tools });
    const types = parts.map(({ type }) => type).filter((type, i, all) => type !== all[i - 1]);
    const call = ['tool-input-start', 'tool-input-delta', 'tool-input-end', 'tool-call'];
    const before = ['stream-start', 'response-metadata', 'reasoning-start', 'reasoning-delta', 'reasoning-end'];
    const said = ['text-start', 'text-delta', 'text-end'];
    expect(types).toEqual([...before, ...said, ...call, ...call, 'finish']);
    expect(parts[0]).toEqual({ type: 'stream-start', warnings: [] });
    expect(textOf(parts, 'reasoning-delta')).toBe('Where?');
    expect(textOf(parts, 'text-delta')).toBe('Let me see.');
    const calls = parts.filter((part) => part.type === 'tool-call');
    expect(calls.map(({ toolName, input }) => [toolName, input])).toEqual([
      ['weather', '{"city":"Paris"}'],
      ['weather', '{"city":"Rome"}'],
    ]);
    expect(new Set(calls.map(({ toolCallId }) => toolCallId)).size).toBe(2);
    const end = parts.at(-1);
    if (end?.type !== 'finish') throw new Error('no finish');
    expect(end.finishReason.unified).toBe('tool-calls');
    const { inputTokens, outputTokens } = end.usage;
    expect(inputTokens.total).toBeGreaterThan(20);
    expect(inputTokens.noCache).toBe((inputTokens.total ?? 0) - (inputTokens.cacheRead ?? 0));
    const total = Array.from(
      scripted.model.tokenizer.encode(CALLS, { addSpecialTokens: false, parseSpecialTokens: true }),
    );
    expect(outputTokens.total).toBe(total.length);
    if (way === 'in this process')
      expect(outputTokens.reasoning).toBe(total.indexOf(scripted.model.tokenizer.idOf('</think>') ?? -1) + 1);
  });

  it('answers whole, and takes results back', async () => {
    scripted.say(CALLS);
    const model = providerOf(way)('scripted');
    const { content, finishReason, response } = await model.doGenerate({ prompt, tools });
    expect(content.map(({ type }) => type)).toEqual(['reasoning', 'text', 'tool-call', 'tool-call']);
    expect(finishReason.unified).toBe('tool-calls');
    expect(response).toMatchObject({ modelId: 'scripted' });
    const said: Extract<Message, { role: 'assistant' }>['content'] = [];
    const results: Extract<Message, { role: 'tool' }>['content'] = [];
    for (const part of content) {
      if (part.type === 'text' || part.type === 'reasoning') said.push(part);
      if (part.type !== 'tool-call') continue;
      const { toolCallId, toolName, input } = part;
      said.push({ type: 'tool-call', toolCallId, toolName, input: JSON.parse(input) });
      const output = { type: 'json' as const, value: { rain: results.length } };
      results.push({ type: 'tool-result', toolCallId, toolName, output });
    }
    scripted.say('No rain.');
    const next = await model.doGenerate({
      prompt: [...prompt, { role: 'assistant', content: said }, { role: 'tool', content: results }],
      tools,
    });
    expect(next.content).toEqual([{ type: 'text', text: 'No rain.' }]);
    expect(next.finishReason.unified).toBe('stop');
    expect(next.usage.outputTokens).toMatchObject({ reasoning: 0, text: next.usage.outputTokens.total });
    const seen = scripted.prompt();
    expect(seen).toContain('"name": "weather"');
    expect(seen).toContain('{"rain":0}');
    expect(seen.indexOf('{"rain":1}')).toBeGreaterThan(seen.indexOf('{"rain":0}'));
  });

  it('warns of what is not to be had, and goes on', async () => {
    scripted.say('Well.');
    const { warnings } = await providerOf(way)('scripted').doGenerate({
      prompt,
      tools: [...(tools ?? []), { type: 'provider', id: 'other.search', name: 'search', args: {} }],
      toolChoice: { type: 'required' },
      reasoning: 'high',
      providerOptions: { lfm: { minp: 0.1 } },
    });
    expect(warnings.map((warning) => ('feature' in warning ? warning.feature : warning))).toEqual([
      'providerOptions.lfm.minp',
      'toolChoice',
      'tool other.search',
      'reasoning',
    ]);
  });

  it('refuses what it cannot read', async () => {
    const model = providerOf(way)('scripted');
    const file = {
      type: 'file' as const,
      mediaType: 'image/png',
      data: { type: 'data' as const, data: new Uint8Array(4) },
    };
    await expect(model.doGenerate({ prompt: [{ role: 'user', content: [file] }] })).rejects.toMatchObject({
      code: 'unsupported-content',
    });
    await expect(model.doStream({ prompt, providerOptions: { lfm: { logprobs: 'many' } } })).rejects.toMatchObject({
      code: 'bad-provider-options',
    });
  });

  it('tells log-probabilities', async () => {
    scripted.say('A lake.');
    const { providerMetadata } = await providerOf(way)('scripted').doGenerate({
      prompt,
      providerOptions: { lfm: { logprobs: true } },
    });
    const logprobs = providerMetadata?.['lfm']?.['logprobs'] as { token: string; logprob: number }[];
    expect(logprobs.map(({ token }) => token).join('')).toBe('A lake.');
    expect(logprobs.every(({ logprob }) => logprob === -0.5)).toBe(true);
  });

  it('ends at once when it is aborted, before the first token and after', async () => {
    const model = providerOf(way)('scripted');
    const running = () => scripted.model.scheduler.load;
    scripted.say();
    const before = new AbortController();
    const waiting = model.doGenerate({ prompt, abortSignal: before.signal });
    setTimeout(() => before.abort(new Error('enough')), 50);
    await expect(waiting).rejects.toThrow('enough');
    scripted.say('word '.repeat(1000));
    const taken = scripted.taken();
    const after = new AbortController();
    const { stream } = await model.doStream({ prompt, abortSignal: after.signal });
    let failure: unknown;
    try {
      for await (const part of stream) if (part.type === 'text-delta') after.abort(new Error('that will do'));
    } catch (error) {
      failure = error;
    }
    expect(failure).toMatchObject({ message: 'that will do' });
    if (way === 'in this process') expect(scripted.taken() - taken).toBeLessThan(20);
    expect(running()).toMatchObject({ running: 0, waiting: 0 });
  });

  it('stops making text when the stream is left', async () => {
    scripted.say('word '.repeat(1000));
    const taken = scripted.taken();
    const { stream } = await providerOf(way)('scripted').doStream({ prompt });
    const reader = stream.getReader();
    for (let i = 0; i < 4; i++) await reader.read();
    await reader.cancel();
    if (way === 'in this process') expect(scripted.taken() - taken).toBeLessThan(20);
  });

  it('makes vectors', async () => {
    const values = ['a brook', 'a river'];
    const { embeddings, usage, warnings } = await providerOf(way)
      .embeddingModel('brook-7m')
      .doEmbed({ values, dimensions: 3 });
    expect(embeddings.map((each) => Math.hypot(...each))).toEqual([expect.closeTo(1, 5), expect.closeTo(1, 5)]);
    const raw = await brook.embed('a river');
    expect(embeddings[1]?.[0]).toBeCloseTo((raw[0] ?? 0) / Math.hypot(...raw), 6);
    expect(usage?.tokens).toBe(values.flatMap((value) => brook.encode(value)).length);
    expect(warnings).toHaveLength(1);
  });
});

describe('a model of this process', () => {
  it('keeps to a schema; a base model goes on with the text, and says so', async () => {
    const schema = { type: 'object', properties: { wet: { type: 'boolean' } }, required: ['wet'] } as const;
    const { content, warnings } = await providerOf('in this process')('brook-7m').doGenerate({
      prompt: [{ role: 'user', content: [{ type: 'text', text: 'Once' }] }],
      responseFormat: { type: 'json', schema: { ...schema, additionalProperties: false } },
      temperature: 0,
      maxOutputTokens: 60,
    });
    const [text] = content;
    if (text?.type !== 'text') throw new Error('no text');
    expect(JSON.parse(text.text)).toEqual({ wet: expect.any(Boolean) });
    expect(warnings).toMatchObject([{ type: 'compatibility', feature: 'chat' }]);
  });

  it('says that a template takes no tools', async () => {
    bare.say('Hm.');
    const { warnings } = await providerOf('in this process')('bare').doGenerate({ prompt, tools });
    expect(warnings).toMatchObject([{ type: 'unsupported', feature: 'tools' }]);
  });

  it('is loaded by its name when it is first asked for, and freed with the provider', async () => {
    const provider = createLfm({ load: { engine: brook.scheduler.generator.engine } });
    const once: LanguageModelV4CallOptions['prompt'] = [{ role: 'system', content: 'Once upon a time' }];
    const call = { prompt: once, maxOutputTokens: 3, temperature: 0 };
    const both = await Promise.all([provider('brook-7m').doGenerate(call), provider('brook-7m').doGenerate(call)]);
    expect(both[0]?.content).toEqual(both[1]?.content);
    expect(both[0]?.finishReason).toEqual({ unified: 'length', raw: 'length' });
    await provider[Symbol.asyncDispose]();
    await expect(provider('no-such-model').doGenerate(call)).rejects.toMatchObject({ code: 'model-missing' });
  });

  it('may be one of a worker', () => {
    const takes = (model: TabModel): LocalModel => model;
    expect(takes).toBeTypeOf('function');
  });
});

describe('a server', () => {
  it('is believed when it refuses', async () => {
    const failure = await providerOf('over HTTP')('brook-7m')
      .doGenerate({ prompt })
      .then(undefined, (error: unknown) => error);
    expect(APICallError.isInstance(failure)).toBe(true);
    expect(failure).toMatchObject({ statusCode: 400, isRetryable: false, code: 'no-chat-template' });
    const stranger = createLfm({ baseURL: `${server.url}/v1` })('scripted').doStream({ prompt });
    await expect(stranger).rejects.toMatchObject({ statusCode: 401 });
  });

  it('may be absent, or break off', async () => {
    const nobody = createLfm({ baseURL: 'http://127.0.0.1:9/v1' })('any').doGenerate({ prompt });
    await expect(nobody).rejects.toMatchObject({ code: 'server-unreachable', isRetryable: true });
    const chunk = 'data: {"id":"a","choices":[{"delta":{"content":"Half"}}]}\n\n';
    const broken = createLfm({ baseURL: 'http://x/v1', fetch: async () => new Response(chunk) });
    await expect(broken('any').doGenerate({ prompt })).rejects.toMatchObject({ code: 'answer-cut' });
    const { stream } = await broken('any').doStream({ prompt });
    const parts = await all(stream);
    expect(parts.map(({ type }) => type).slice(-3)).toEqual(['text-end', 'error', 'finish']);
    const nonsense = createLfm({ baseURL: 'http://x/v1', fetch: async () => new Response('data: {"choices":1}\n\n') });
    await expect(nonsense('any').doStream({ prompt })).rejects.toMatchObject({ code: 'bad-answer' });
  });
});
