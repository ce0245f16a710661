import { expect, it } from 'vitest';
import { parseIdx } from './idx.ts';

const header = [0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3];

it('reads bytes of any rank', () => {
  expect(parseIdx(Uint8Array.of(...header, 1, 2, 3, 4, 5, 255))).toEqual({
    shape: [2, 3],
    data: Uint8Array.of(1, 2, 3, 4, 5, 255),
  });
});

it('refuses other files, other types and other lengths', () => {
  expect(() => parseIdx(new Uint8Array(0))).toThrow(/IDX file of unsigned bytes/);
  expect(() => parseIdx(Uint8Array.of(0, 0, 0x0d, 1, 0, 0, 0, 0))).toThrow(/unsigned bytes/);
  expect(() => parseIdx(Uint8Array.of(...header, 1, 2))).toThrow(/\[2,3\] has 18 bytes; found 14/);
  expect(() => parseIdx(Uint8Array.of(0, 0, 8, 255, 1))).toThrow(/IDX file/);
});
