// Parts of a Markdown file that a command writes, between <!-- NAME: who writes it --> and <!-- end of NAME -->.
import { readFile, writeFile } from 'node:fs/promises';
import { LfmError } from '../src/tensor/error.ts';

/** `text` with its part `name` replaced. Errors: `no-such-part`. */
export function withPart(text: string, name: string, content: string): string {
  const [start, end] = [text.indexOf(`<!-- ${name}:`), text.indexOf(`<!-- end of ${name} -->`)];
  const from = text.indexOf('-->', start) + '-->'.length;
  if (start < 0 || end < from)
    throw new LfmError('no-such-part', `expected <!-- ${name}: … --> and <!-- end of ${name} --> in the text`);
  return `${text.slice(0, from)}\n${content.trim()}\n${text.slice(end)}`;
}

export async function writePart(path: string, name: string, content: string): Promise<void> {
  await writeFile(path, withPart(await readFile(path, 'utf8'), name, content));
  console.log(`${path}: ${name} written`);
}
