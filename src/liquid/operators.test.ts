// The registry of operators: all of the library's, and a process's own.
import { describe, expect, it } from 'vitest';
import * as everything from './index.ts';
import { attention, findOperator, isOperatorConstructor, operator, operatorNames, registerOperators } from './index.ts';
import type { Tensor } from '../tensor/index.ts';

const define = () => ({
  scope: 'own',
  parameters: () => ({}),
  featurize: (_: unknown, x: Tensor) => ({ x }),
  mix: (_: unknown, { x }: { x: Tensor }) => [x, {}] as const,
});

describe('operators by name', () => {
  it('are all that the library exports', () => {
    const exported = Object.values<unknown>(everything).filter(isOperatorConstructor);
    expect(exported.map(({ operatorName }) => operatorName).toSorted()).toEqual(operatorNames().toSorted());
    expect(exported.length).toBeGreaterThan(2);
    expect(findOperator('attention')).toBe(attention);
  });

  it('may be registered for the process, once for a name', () => {
    const own = operator('registered_own', define);
    expect(() => findOperator('registered_own')).toThrow(/lfm --import/);
    expect(findOperator('registered_own', [own])).toBe(own);
    registerOperators([own]);
    registerOperators([own]);
    expect(findOperator('registered_own')).toBe(own);
    const taken = expect.objectContaining({ code: 'operator-name-taken' });
    expect(() => registerOperators([operator('registered_own', define)])).toThrow(taken);
    expect(() => findOperator('swiglu', [operator('attention', define)])).toThrow(taken);
    // @ts-expect-error an operator, where what makes it is expected
    expect(() => registerOperators([own()])).toThrow(expect.objectContaining({ code: 'not-an-operator' }));
  });
});
