// Prints texts as corpora of word lists have them (WikiText: punctuation apart, " @-@ " within words, " = Title = ", rare words as <unk>), so
// that a student sees that form too. Input: .jsonl files with "text"; output: the same.
//   npx tsx tools/spaced-text.ts texts.jsonl > spaced.jsonl
import { readLines } from '../src/data/text-files.node.ts';
import { Random } from '../src/tensor/index.ts';

/** Shares of words that come out as <unk>: names within a sentence, and others. */
const UNKNOWN = { name: 0.1, word: 0.005 };

function spaced(text: string, random: Random): string {
  const paragraphs = text
    .replaceAll(/[“”]/gu, '"')
    .replaceAll(/[‘’]/gu, "'")
    .split(/\s*\n\s*/u);
  const lines = paragraphs.map((paragraph) => {
    const heading = paragraph.match(/^(#{1,3})\s+(.*)$/u);
    const apart = (heading?.[2] ?? paragraph)
      .replaceAll(/(?<=\w)-(?=\w)/gu, ' @-@ ')
      .replaceAll(/(?<=\d)([.,])(?=\d)/gu, ' @$1@ ')
      .replaceAll(/(?<=\w)'(?=\w)/gu, " '")
      .replaceAll(/(?<!@)([,;:?!()[\]"])(?!@)/gu, ' $1 ')
      .replaceAll(/(?<=\w{2}|[)"%])\.(?=\s|$)/gu, ' .')
      .replaceAll(/(?<=\b(?:Mr|Mrs|Dr|St)) \./gu, '.')
      .split(/\s+/u)
      .filter(Boolean);
    const words = apart.map((word, at) => {
      const share = at > 0 && /^[A-Z][a-z]+$/u.test(word) ? UNKNOWN.name : /^[a-z]{5,}$/u.test(word) ? UNKNOWN.word : 0;
      return random.uniform() < share ? '<unk>' : word;
    });
    const marks = heading?.[1] ? Array.from(heading[1], () => '=') : [];
    return ` ${[...marks, ...words, ...marks].join(' ')} \n`;
  });
  return lines.join(' \n');
}

const random = new Random(0);
for (const path of process.argv.slice(2))
  for await (const text of readLines(path, (line) => (line as { readonly text: string }).text))
    if (text.length > 400) process.stdout.write(`${JSON.stringify({ text: spaced(text, random) })}\n`);
