// Two models on the same items, compared item by item: what one has of the other's score, with an interval that counts what they share.
import { LfmError } from '../tensor/error.ts';
import type { Estimate, PartResult } from './part.ts';
import { asEstimate, exponentialOf, meanOf, ratioOf } from './statistics.ts';

/** Of each task both models' results. */
export type Pair = readonly [student: PartResult, teacher: PartResult];

function sameItems([student, teacher]: Pair): void {
  if (student.items === teacher.items && student.perItem.values.length === teacher.perItem.values.length) return;
  throw new LfmError(
    'other-items',
    `Models are compared on the same items; one was measured on ${student.items}, the other on ${teacher.items}.`,
  );
}

/**
 * The student's mean score above chance over tasks, as a share of the teacher's. Its error is to first order, from s - r t of each item
 * (s, t: whether student and teacher solved it; r: the share), so that items that both find easy do not widen it. Errors:
 * `other-items`.
 */
export function shareAboveChance(pairs: readonly Pair[]): {
  readonly student: number;
  readonly teacher: number;
  readonly share: Estimate;
} {
  pairs.forEach(sameItems);
  const above = (which: 0 | 1) =>
    meanOf(pairs.map((pair) => meanOf(pair[which].perItem.values).mean - (pair[which].chance ?? 0))).mean;
  const [student, teacher] = [above(0), above(1)];
  const share = student / teacher;
  const squares = pairs.map(([one, other]) => {
    const rest = one.perItem.values.map((value, i) => value - share * (other.perItem.values[i] ?? 0));
    return (meanOf(rest).standardError / pairs.length / teacher) ** 2;
  });
  return {
    student,
    teacher,
    share: asEstimate(share, Math.sqrt(squares.reduce((sum, value) => sum + value, 0))),
  };
}

/** The student's perplexity over the teacher's, of the same tokens. Errors: `other-items`, also for other tokens. */
export function perplexityRatio(pair: Pair): Estimate {
  sameItems(pair);
  const [{ perItem: student }, { perItem: teacher }] = pair;
  const { sizes = [] } = student;
  if (sizes.some((size, i) => size !== teacher.sizes?.[i]))
    throw new LfmError('other-items', 'The models cut the text into other tokens: their perplexities do not compare.');
  return exponentialOf(
    ratioOf(
      student.values.map((nats, i) => nats - (teacher.values[i] ?? 0)),
      sizes,
    ),
  );
}
