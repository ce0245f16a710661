// Whether two models mean the same by a token: distillation compares their distributions id by id.
import { LfmError } from '../tensor/error.ts';
import type { Tokenizer } from '../text/tokenizer.ts';

/** Errors: `tokenizer-mismatch`, naming the first thing that differs. */
export function requireSameVocabulary(student: Tokenizer, teacher: Tokenizer, teacherName: string): void {
  const found = differenceOf(student, teacher);
  if (found === undefined) return;
  throw new LfmError(
    'tokenizer-mismatch',
    `The teacher ${teacherName} has another tokenizer than the student: ${found}. Distil from a model with the student's tokenizer, or begin the student from the teacher (model.from).`,
  );
}

function differenceOf(student: Tokenizer, teacher: Tokenizer): string | undefined {
  if (student.vocabSize !== teacher.vocabSize)
    return `the student's has ${student.vocabSize} tokens, the teacher's ${teacher.vocabSize}`;
  for (let id = 0; id < student.vocabSize; id++) {
    const [own, theirs] = [student, teacher].map((one) => spelt(one, id));
    if (own !== theirs) return `token ${id} is ${own} to the student and ${theirs} to the teacher`;
    if (student.isSpecial(id) !== teacher.isSpecial(id))
      return `token ${id}, ${own}, is special to ${student.isSpecial(id) ? 'the student' : 'the teacher'} alone`;
  }
  const [a, b] = [student.definition, teacher.definition];
  if (a.merges.join() !== b.merges.join()) return 'they merge tokens in another order';
  const cutting = ({ normalizer, preTokenizer, ignoreMerges }: typeof a) =>
    JSON.stringify([normalizer ?? [], preTokenizer, ignoreMerges]);
  return cutting(a) === cutting(b) ? undefined : 'they cut text into words by other rules';
}

/** A token's bytes as text, each byte a character: two different ones never look alike. */
function spelt(tokenizer: Tokenizer, id: number): string {
  const bytes = tokenizer.tokenOf(id);
  return bytes ? JSON.stringify(String.fromCharCode(...bytes)) : 'nothing';
}
