// The default system message of a template, replaced and read back by the template itself.
import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { ChatTemplate } from '../src/generate/chat.ts';
import { parseTokenizerJson } from '../src/text/tokenizer-json.ts';
import { withDefaultSystem } from '../tools/default-system.ts';

const template =
  "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are Old, made by Some.<|im_end|>\\n' }}{% endif %}" +
  "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}";

it('stands where the old one stood, and only there', async () => {
  const changed = withDefaultSystem(
    { chat_template: template, eos_token: '<|im_end|>' },
    'You are a helpful assistant.',
  );
  expect(changed).toMatchObject({ eos_token: '<|im_end|>' });
  const text = 'chat_template' in changed ? String(changed.chat_template) : '';
  const tokenizer = parseTokenizerJson(await readFile('weights/brook-7m/tokenizer.json', 'utf8'));
  const asked = (messages: readonly object[]) =>
    tokenizer.decode(new ChatTemplate(tokenizer, { default: text }, {}).encode(messages as never));
  expect(asked([{ role: 'user', content: 'Hi' }])).toContain(
    '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>',
  );
  const own = asked([
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Hi' },
  ]);
  expect(own).toContain('Be brief.');
  expect(own).not.toContain('helpful');
});

it.each([
  [{}, 'Be kind.', 'one text'],
  [{ chat_template: 'no system' }, 'Be kind.', 'found 0'],
  [{ chat_template: template }, "Don't.", 'without quotes'],
])('refuses %#', (config, system, message) => {
  expect(() => withDefaultSystem(config, system)).toThrow(message);
});
