// Operators by name: those of the library, one line each, and those of a user's own modules.
import { LfmError } from '../tensor/error.ts';
import { attention } from './attention.ts';
import { cfc } from './cfc.ts';
import { gatedDelta } from './gated-delta.ts';
import { latentAttention } from './latent-attention.ts';
import { linearAttention } from './linear-attention.ts';
import { longConv } from './long-conv.ts';
import { ltc } from './ltc.ts';
import { mamba } from './mamba.ts';
import { mamba2 } from './mamba2.ts';
import { mlp } from './mlp.ts';
import { moe } from './moe.ts';
import type { Operator, OperatorConstructor } from './operator.ts';
import { isOperatorConstructor } from './operator.ts';
import { sharedTransformer } from './shared-transformer.ts';
import { shortConv } from './short-conv.ts';
import { liv } from './space/liv.ts';
import { swiglu } from './swiglu.ts';

const library: readonly OperatorConstructor[] = [
  attention,
  cfc,
  gatedDelta,
  latentAttention,
  linearAttention,
  liv,
  longConv,
  ltc,
  mamba,
  mamba2,
  mlp,
  moe,
  sharedTransformer,
  shortConv,
  swiglu,
];

const byName = new Map(library.map((one) => [one.operatorName, one]));

/** Names of all operators that are known without being given. */
export function operatorNames(): string[] {
  return [...byName.keys()];
}

/**
 * Makes operators known by name in all of this process, for configurations and recipes that name them; `lfm --import` does
 * it. Where a function takes `operators`, that is the better way. Errors: `operator-name-taken`, `not-an-operator`.
 */
export function registerOperators(operators: readonly OperatorConstructor[]): void {
  for (const one of operators) requireOwnName(one);
  for (const one of operators) byName.set(one.operatorName, one);
}

/**
 * The constructor of that name, among `given` and those known. Errors: `unknown-operator`, with what to do,
 * `operator-name-taken`, `not-an-operator`.
 */
export function findOperator(name: string, given: readonly OperatorConstructor[] = []): (options: object) => Operator {
  for (const one of given) requireOwnName(one);
  const found = given.find(({ operatorName }) => operatorName === name) ?? byName.get(name);
  // Whether the options are its own is for the operator to say.
  if (found) return found as unknown as (options: object) => Operator;
  throw new LfmError(
    'unknown-operator',
    `The model has the operator ${JSON.stringify(name)}, which is not among those known: ${operatorNames().join(', ')}. ` +
      'A model folder brings no code. If you have the module that defines this operator, import it and give it: ' +
      'load(folder, { operators: [mine] }) in code, lfm --import ./mine.js on the command line.',
  );
}

function requireOwnName(one: OperatorConstructor): void {
  if (!isOperatorConstructor(one))
    throw new LfmError(
      'not-an-operator',
      'operators: expected what operator(name, define) answers, made by this copy of lfm; found something else.',
    );
  const known = byName.get(one.operatorName);
  if (known && known !== one)
    throw new LfmError(
      'operator-name-taken',
      `There is another operator named ${JSON.stringify(one.operatorName)}: give yours a name of its own.`,
    );
}
