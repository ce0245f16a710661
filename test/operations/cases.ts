// The table: cases for every primitive and composite, by family.
import type { OperationCase } from './case.ts';
import { compositeCases } from './cases/composites.ts';
import { contractionCases } from './cases/contraction.ts';
import { controlCases } from './cases/control.ts';
import { attentionCases } from './cases/attention.ts';
import { elementwiseCases } from './cases/elementwise.ts';
import { indexingCases } from './cases/indexing.ts';
import { longConvCases } from './cases/long-conv.ts';
import { movementCases } from './cases/movement.ts';
import { expertCases } from './cases/experts.ts';
import { quantizedCases } from './cases/quantized.ts';
import { recurrenceCases } from './cases/recurrence.ts';
import { reductionCases } from './cases/reduction.ts';
import { selectiveScanCases } from './cases/selective-scan.ts';

export const cases: readonly OperationCase[] = [
  ...elementwiseCases,
  ...movementCases,
  ...reductionCases,
  ...contractionCases,
  ...indexingCases,
  ...controlCases,
  ...compositeCases,
  ...attentionCases,
  ...quantizedCases,
  ...recurrenceCases,
  ...expertCases,
  ...selectiveScanCases,
  ...longConvCases,
];
