// Fine-tuning on chats: what of a chat counts, rows in which no document sees another, mixtures, and what is refused.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { COUNTS, segmentsOf } from '../data/marks.ts';
import { RowPacker } from '../data/rows.ts';
import { onnxEngine } from '../engines/onnx/engine.node.ts';
import { ChatTemplate } from '../generate/chat.ts';
import { chatTurns } from '../generate/chat-turns.ts';
import { attention, defineModel, initialise, layer, lossProgram, shortConv, swiglu } from '../liquid/index.ts';
import { parseTokenizerJson } from '../text/tokenizer-json.ts';
import { markedBatch } from './examples.ts';
import type { RecipeInput } from './recipe.ts';
import { runRecipe } from './run.node.ts';
import { grammarText, temporaryFolder, tinyRecipe } from './testing.node.ts';

const chatMl =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
const tokenizer = parseTokenizerJson(await readFile('weights/brook-7m/tokenizer.json', 'utf8'));
const turns = (template: string, messages: unknown) =>
  chatTurns(new ChatTemplate(tokenizer, { default: template }, {}), tokenizer, messages);
const chat = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Where is the <|im_end|> moon?' },
  { role: 'assistant', content: 'Up there.' },
  { role: 'user', content: 'And the river?' },
  { role: 'assistant', content: 'Down here.' },
];

describe('a chat as tokens', () => {
  it('counts what the assistant says, its closing token among it', () => {
    const { ids, counts } = turns(chatMl, chat);
    const said: number[][] = [];
    ids.forEach((id, at) => {
      if (!counts[at]) return;
      if (!counts[at - 1]) said.push([]);
      said.at(-1)?.push(id);
    });
    expect(said.map((one) => tokenizer.decode(one))).toEqual(['Up there.<|im_end|>', 'Down here.<|im_end|>']);
    expect(tokenizer.decode(ids)).toBe(
      chat.map(({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`).join(''),
    );
    // What a user spells is no control token.
    expect(ids.filter((id) => id === tokenizer.idOf('<|im_end|>'))).toHaveLength(5);
  });

  it.each<[string, string, unknown]>([
    ['chat-roles', 'messages[0].role: expected system or user at the beginning', [{ role: 'assistant', content: 'a' }]],
    ['chat-roles', 'messages[1].role: expected assistant after user', [chat[1], chat[1]]],
    ['chat-roles', 'at least one of the role assistant', [chat[1]]],
    ['bad-messages', 'messages[0][role]', [{ role: 'robot', content: 'a' }]],
    ['bad-messages', 'messages[0][content]', [{ role: 'user', content: 7 }]],
  ])('%s: %s', (code, message, messages) => {
    expect(() => turns(chatMl, messages)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(message) }),
    );
  });

  it('refuses a template that writes a turn otherwise once another follows', () => {
    const forgetful = chatMl.replace("message['content']", "(message['content'] if loop.last else '')");
    expect(() => turns(forgetful, chat)).toThrow(expect.objectContaining({ code: 'chat-template-rewrites' }));
  });
});

describe('rows of documents [onnx]', () => {
  /** Losses of the second document's labels, behind a first one. */
  async function lossBehind(first: readonly number[]): Promise<number> {
    const packer = new RowPacker(12, 0);
    packer.add({ ids: first, counts: first.map(() => 0), bytes: 0 });
    packer.add({ ids: [5, 6, 7, 8, 9], counts: [1, 1, 1, 1, 1], bytes: 0 });
    const [row] = packer.finish();
    if (!row) throw new Error('expected a row');
    const behind = (x: Int32Array, last: number) => Int32Array.of(...x, last);
    const batch = markedBatch(behind(row.ids, 0), behind(row.marks, 2), 12, true);
    const model = defineModel({
      vocabSize: 16,
      hiddenSize: 8,
      layers: [
        layer(shortConv(), swiglu({ intermediateSize: 8 })),
        layer(attention({ heads: 2, keyValueHeads: 1 }), swiglu({ intermediateSize: 8 })),
      ],
      initializerRange: 0.5,
    });
    const engine = await onnxEngine({ threads: 1 });
    const program = lossProgram(model, { batch: 1, length: 12, segments: true });
    const executable = await engine.compile(program);
    const values = { ...initialise(model, 1), ...batch };
    const inputs = Object.fromEntries(
      await Promise.all(
        program.inputs.map(async ({ name, value }) => {
          const given = values[name];
          if (!given) throw new Error(`expected ${name}`);
          return [name, await engine.upload(value.dtype, value.shape.map(Number), given)] as const;
        }),
      ),
    );
    const { loss } = await executable.run(inputs);
    const found = loss && (await engine.download(loss))[0];
    await engine.close();
    return Number(found);
  }

  it('neither attention nor convolution sees the document before', async () => {
    const loss = await lossBehind([1, 2, 3]);
    expect(loss).toBeGreaterThan(0.1);
    expect(await lossBehind([14, 15, 11])).toBe(loss);
    expect(await lossBehind([14, 15, 11, 4, 4])).toBeCloseTo(loss, 5);
  });

  it('hold whole documents, the fullest that has room first; what begins one is no label', () => {
    const packer = new RowPacker(6, 0);
    for (const size of [4, 3, 2, 3]) packer.add({ ids: Array(size).fill(size), counts: Array(size).fill(1), bytes: 1 });
    const [first, second] = packer.finish();
    expect(first?.ids).toEqual(Int32Array.of(4, 4, 4, 4, 2, 2));
    expect(second?.ids).toEqual(Int32Array.of(3, 3, 3, 3, 3, 3));
    expect(first?.marks.map((mark) => mark & COUNTS)).toEqual(Int32Array.of(0, 1, 1, 1, 0, 1));
    expect(segmentsOf(first?.marks ?? new Int32Array(), 6)).toEqual(Int32Array.of(0, 0, 0, 0, 1, 1));
  });
});

describe('a recipe with chats [onnx]', () => {
  const lines = (count: number) =>
    Array.from({ length: count }, (_, i) =>
      JSON.stringify({
        messages: [
          { role: 'user', content: `Say ${i % 7}` },
          { role: 'assistant', content: 'yes yes' },
        ],
      }),
    ).join('\n');
  async function prepared(chats: string, changes: Partial<RecipeInput> = {}) {
    const folder = await temporaryFolder();
    const files = { chats: join(folder, 'c.jsonl'), text: join(folder, 't.txt'), template: join(folder, 'chat.jinja') };
    await writeFile(files.chats, chats);
    await writeFile(files.text, grammarText(8000));
    await writeFile(files.template, chatMl);
    const recipe = tinyRecipe({
      tokenizer: { train: { vocabSize: 300 }, chatTemplate: files.template },
      data: { sources: [{ name: 'text' }, { name: 'chats', kind: 'chat', weight: 3 }] },
      batch: { size: 4, length: 48 },
      ...changes,
    });
    return { recipe, data: [`text=${files.text}`, `chats=${files.chats}`], out: join(folder, 'run') };
  }

  it('mixes text and chats, measures both, and keeps the template', async () => {
    const { recipe, data, out } = await prepared(lines(80), {
      steps: 80,
      learningRate: 0.03,
      heldOut: { share: 0.1, everySteps: 100 },
    });
    const { heldOut } = await runRecipe(recipe, { data, out });
    // Of a chat only the two words and the closing token are said; they are always the same.
    expect(heldOut?.sources['chats']?.natsPerToken).toBeLessThan(1);
    expect(heldOut?.sources['text']?.natsPerToken).toBeLessThan(2);
    expect(await readFile(join(out, 'final', 'chat_template.jinja'), 'utf8')).toBe(chatMl);
  });

  it.each<[string, string, string, Partial<RecipeInput>]>([
    [
      'bad-chat',
      'c.jsonl, line 3: messages[1].role: expected assistant after user',
      `${lines(2)}\n${JSON.stringify({ messages: [chat[1], chat[1]] })}`,
      {},
    ],
    ['bad-chat', 'c.jsonl, line 1: expected an object with a list', '{"text":"a"}', {}],
    ['chat-too-long', 'c.jsonl, line 1: the chat has', lines(1), { batch: { size: 4, length: 8 } }],
    ['no-chat-template', 'source "chats"', lines(1), { tokenizer: { train: { vocabSize: 300 } } }],
  ])('%s: %s', async (code, message, chats, changes) => {
    const { recipe, data, out } = await prepared(chats, changes);
    await expect(runRecipe(recipe, { data, out })).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
  });

  it('leaves longer chats out where it is told to, and says how many', async () => {
    const long = JSON.stringify({ messages: [chat[1], { role: 'assistant', content: 'word '.repeat(200) }] });
    const { recipe, data, out } = await prepared(`${long}\n${lines(20)}`, {
      steps: 1,
      data: { sources: [{ name: 'text' }, { name: 'chats', kind: 'chat' }], longChats: 'leave-out' },
      schedule: { kind: 'cosine' },
    });
    const told: string[] = [];
    await runRecipe(recipe, { data, out, onEvent: (event) => void (event.kind === 'notice' && told.push(event.text)) });
    expect(told).toContain('chats: 1 chats longer than 48 tokens were left out');
  });
});
