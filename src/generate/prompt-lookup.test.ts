// Guesses from the text itself.
import { expect, it } from 'vitest';
import { lookUp } from './prompt-lookup.ts';

it('guesses what followed the longest run of last tokens, where it stood last', () => {
  expect(lookUp([1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3], 2)).toEqual([4, 9]);
  expect(lookUp([2, 3, 4, 8, 2, 3, 5, 9, 2, 3], 3)).toEqual([5, 9, 2]);
  expect(lookUp([2, 3, 4, 2, 3], 9)).toEqual([4, 2, 3]);
  expect(lookUp([5, 5, 5], 2)).toEqual([5]);
});

it('guesses nothing from one token, or from nothing', () => {
  expect(lookUp([7, 1, 7], 3)).toEqual([]);
  expect(lookUp([], 3)).toEqual([]);
  expect(lookUp([1, 2, 1, 2, 1, 2], 0)).toEqual([]);
});
