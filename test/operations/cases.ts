// The table: cases for every primitive and composite, by family.
import type { OperationCase } from './case.ts';
import { compositeCases } from './cases/composites.ts';
import { contractionCases } from './cases/contraction.ts';
import { controlCases } from './cases/control.ts';
import { attentionCases } from './cases/attention.ts';
import { elementwiseCases } from './cases/elementwise.ts';
import { indexingCases } from './cases/indexing.ts';
import { movementCases } from './cases/movement.ts';
import { expertCases } from './cases/experts.ts';
import { recurrenceCases } from './cases/recurrence.ts';
import { reductionCases } from './cases/reduction.ts';

export const cases: readonly OperationCase[] = [
  ...elementwiseCases,
  ...movementCases,
  ...reductionCases,
  ...contractionCases,
  ...indexingCases,
  ...controlCases,
  ...compositeCases,
  ...attentionCases,
  ...recurrenceCases,
  ...expertCases,
];
