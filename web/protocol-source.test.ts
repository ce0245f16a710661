// What the page asks and how it reads the answer, over a server that is written out here.
import { expect, it } from 'vitest';
import { protocolSource, type Send } from './protocol-source.ts';
import type { Asked, Piece } from './source.ts';

const asked: Asked = {
  model: 'base',
  mode: 'chat',
  turns: [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Once' },
  ],
  sampling: { maxTokens: 4 },
  probabilities: false,
};
const refusal = (code: string) => Response.json({ error: { message: `no: ${code}`, code } }, { status: 400 });

async function read(send: Send): Promise<string> {
  const pieces: Piece[] = [];
  for await (const piece of protocolSource(send).answer(asked, new AbortController().signal)) pieces.push(piece);
  return pieces.map(({ text = '' }) => text).join('');
}

it('continues the text where the model turns out to have no chat template', async () => {
  const sent: [string, unknown][] = [];
  const text = await read(async (path, { body = '' } = {}) => {
    sent.push([path, JSON.parse(body)]);
    if (path === '/v1/chat/completions') return refusal('no_chat_template');
    return new Response('data: {"choices":[{"text":" upon a time"}]}\n\ndata: [DONE]\n\n');
  });
  expect(text).toBe(' upon a time');
  expect(sent.map(([path]) => path)).toEqual(['/v1/chat/completions', '/v1/completions']);
  expect(sent[1]?.[1]).toMatchObject({ model: 'base', prompt: 'Once', max_tokens: 4 });
});

it('says what is refused, and what was cut', async () => {
  await expect(read(async () => refusal('bad_schema'))).rejects.toThrow('no: bad_schema');
  await expect(read(async () => new Response('data: {"choices":[]}\n\n'))).rejects.toThrow('in the middle');
});
