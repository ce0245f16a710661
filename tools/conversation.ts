// A conversation of six turns with a model, as it is: npx tsx --conditions=lfm-source tools/conversation.ts MODEL [--readme]
// prints it as Markdown, or writes it into README.md. Its own sampling, one seed, nothing left out or chosen.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { load } from '../src/generate/load.ts';
import { ROOT } from '../test/root.ts';
import { writePart } from './marked.ts';

const SEED = 1;
const MOST_TOKENS = 160;
const questions = [
  'Hello! Who are you?',
  'What is the capital of France?',
  'What can I see there in a day? Three things, please.',
  'Which of them would you visit with a small child, and why?',
  'What is 7 plus 5?',
  'Write two lines of a poem about a brook.',
];

const { values, positionals } = parseArgs({ options: { readme: { type: 'boolean' } }, allowPositionals: true });
const [name] = positionals;
if (name === undefined) throw new Error('Usage: tools/conversation.ts MODEL [--readme]');
await using model = await load(name, { engine: { name: 'onnx', threads: 2 } });
const conversation = model.conversation();
const turns: string[] = [];
for (const question of questions) {
  const { text, finishReason } = await conversation.say(question, { seed: SEED, maxTokens: MOST_TOKENS });
  // Everything the model says stays a quotation, whatever Markdown it writes.
  const said = text.trim().replaceAll('<', '&lt;').split('\n').join('\n> ');
  turns.push(`**${question}**\n\n> ${said}${finishReason === 'length' ? ' […]' : ''}`);
}
const markdown = turns.join('\n\n');
if (values.readme) await writePart(join(ROOT, 'README.md'), 'a conversation', markdown);
else console.log(markdown);
