import { expect, it } from 'vitest';
import { parseTar } from './tar.ts';

/** An entry with its header and padding. */
function entry(name: string, content: string, { type = '0', magic = 'ustar', size = content.length } = {}): Uint8Array {
  const bytes = new Uint8Array(512 + 512 * Math.ceil(content.length / 512));
  const put = (text: string, at: number) => bytes.set(new TextEncoder().encode(text), at);
  put(name, 0);
  put(size.toString(8).padStart(11, '0'), 124);
  put(type, 156);
  put(magic, 257);
  put(content, 512);
  return bytes;
}

const join = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));

it('gives files by name, and neither folders nor what follows the end', () => {
  const files = parseTar(
    join(
      entry('a/', '', { type: '5' }),
      entry('a/b.txt', 'x'.repeat(600)),
      entry('c', 'hello'),
      new Uint8Array(1024),
      entry('d', 'no'),
    ),
  );
  expect([...files].map(([name, bytes]) => [name, new TextDecoder().decode(bytes)])).toEqual([
    ['a/b.txt', 'x'.repeat(600)],
    ['c', 'hello'],
  ]);
});

it('refuses other headers and files that are cut short', () => {
  expect(() => parseTar(entry('a', 'x', { magic: 'other' }))).toThrow(/USTAR header at byte 0/);
  expect(() => parseTar(entry('a', 'x', { size: 5000 }))).toThrow(/"a" has 5000 bytes/);
});
