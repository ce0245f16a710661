// The tree of a conversation: branches stay, paths are found, and files from elsewhere cannot hang the page.
import { describe, expect, it } from 'vitest';
import { add, alternatives, change, drop, newConversation, show, shownMessages } from './conversation.ts';
import { parseConversations } from './history.ts';

const said = (content: string) => ({ role: 'user', content }) as const;
const answered = (content: string) => ({ role: 'assistant', content }) as const;
const texts = (conversation: Parameters<typeof shownMessages>[0]) =>
  shownMessages(conversation).map(({ content }) => content);

function example() {
  const first = add(newConversation(), null, said('  a\nquestion '));
  const one = add(first.conversation, first.id, answered('one'));
  const more = add(one.conversation, one.id, said('more'));
  const two = add(more.conversation, first.id, answered('two'));
  return { first, one, more, two, conversation: two.conversation };
}

describe('a conversation', () => {
  it('is named after its first message', () => {
    expect(example().conversation.title).toBe('a question');
  });

  it('keeps both answers, and shows the branch that was chosen to its newest end', () => {
    const { conversation, one, two } = example();
    expect(texts(conversation)).toEqual(['  a\nquestion ', 'two']);
    const [, shown] = shownMessages(conversation);
    expect(shown && alternatives(conversation, shown).map(({ id }) => id)).toEqual([one.id, two.id]);
    expect(texts(show(conversation, one.id))).toEqual(['  a\nquestion ', 'one', 'more']);
    expect(conversation.messages).toHaveLength(4);
  });

  it('changes and drops single messages', () => {
    const { conversation, two, first } = example();
    expect(texts(change(conversation, two.id, { content: 'changed' })).at(-1)).toBe('changed');
    const dropped = drop(conversation, two.id);
    expect(dropped.leaf).toBe(first.id);
    expect(dropped.messages).toHaveLength(3);
  });
});

describe('conversations from a file', () => {
  const { conversation } = example();
  const withMessage = (more: object) =>
    JSON.stringify([{ ...conversation, messages: [{ ...conversation.messages[0], ...more }] }]);

  it('come back as they were', () => {
    expect(parseConversations(JSON.stringify([conversation]))).toEqual([conversation]);
  });

  it.each([
    ['no JSON', '{'],
    ['no list', '{}'],
    ['no conversation', '[{"id": "x"}]'],
    ['a role that there is not', withMessage({ role: 'owner' })],
    ['a text that is none', withMessage({ content: { html: '<b>' } })],
    ['tokens that are none', withMessage({ chances: [{ text: 1 }] })],
    ['tokens without their others', withMessage({ chances: [{ text: 'a', logprob: 0 }] })],
    ['calls that are none', withMessage({ toolCalls: ['x'] })],
    ['usage in words', withMessage({ usage: { promptTokens: 'many' } })],
  ])('are refused where they hold %s', (_, text) => {
    expect(() => parseConversations(text)).toThrow('choose one that Export wrote');
  });

  it('do not hang the page where messages follow each other in a circle', () => {
    const messages = [
      { ...said('a'), id: 'a', parent: 'b' },
      { ...said('b'), id: 'b', parent: 'a' },
    ];
    const circle = { ...newConversation(), messages, leaf: 'a' };
    expect(shownMessages(circle)).toHaveLength(2);
    expect(show(circle, 'a').leaf).toBe('a');
  });
});
