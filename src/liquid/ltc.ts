// ltc: the liquid time-constant network (Hasani et al. 2021, arXiv 2006.04439): dx/dt = -(1/τ + f(x, I)) x + f(x, I) A, so that
// how fast a unit moves depends on what it sees. Shapes: B batch, T tokens, U units.
import { add, cast, div, LfmError, linear, logistic, mul, softplus } from '../tensor/index.ts';
import { elapsed, runCell } from './cell.ts';
import { operator } from './operator.ts';
import { bias, gain, weight } from './parameter.ts';
import { fixed } from './state.ts';

export interface LtcOptions {
  /** Default: the hidden size. */
  readonly units?: number;
  /** Steps of the solver between two tokens. */
  readonly unfolds?: number;
}

/**
 * One fused step of the solver (equation 3 of the paper) takes x to (x + h f A) / (1 + h (1/τ + f)), with f a sigmoid of input
 * and state and h the time since the token before (`timeSteps`; 1 where nothing is said) over `unfolds`: it holds at any h.
 * Its state steers what becomes of the state, so there is no parallel form: training walks the tokens too.
 */
export const ltc = operator('ltc', ({ units, unfolds = 6 }: LtcOptions) => {
  if (!(Number.isSafeInteger(unfolds) && unfolds >= 1 && unfolds <= 64))
    throw new LfmError('bad-unfolds', `ltc: expected from 1 to 64 unfolds; found ${unfolds}.`);
  const unitsOf = (hiddenSize: number) => units ?? hiddenSize;
  return {
    scope: 'cell',
    parameters: ({ hiddenSize: d }) => {
      const u = unitsOf(d);
      return {
        'input.weight': weight([u, d], ['units', 'hidden'], { std: d ** -0.5 }),
        'input.bias': bias([u], ['units']),
        'recurrent.weight': weight([u, u], ['units', 'units'], { std: u ** -0.5 }),
        leak: gain([u], ['units']),
        target: weight([u], ['units'], { std: 1 }),
        'out_proj.weight': weight([d, u], ['hidden', 'units']),
      };
    },
    state: ({ hiddenSize: d }) => ({ cell: fixed([unitsOf(d)]) }),
    featurize: (p, x_BTD) => ({
      drive: add(cast(linear(x_BTD, p['input.weight']), 'float32'), cast(p['input.bias'], 'float32')),
    }),
    mix: (p, { drive }, { cell }, context) => {
      const [recurrent, target] = [cast(p['recurrent.weight'], 'float32'), cast(p.target, 'float32')];
      // 1/τ is above 0, and so is f: the denominator does not vanish.
      const leak = softplus(cast(p.leak, 'float32'));
      const inputs = [drive, ...elapsed(context)];
      const { states_BTU, next } = runCell(
        inputs,
        cell,
        Number(drive.dim(2)),
        context,
        (before, [seen = drive, time]) => {
          let x = before;
          for (let i = 0; i < unfolds; i++) {
            const f = logistic(add(seen, linear(x, recurrent)));
            const h = time ? mul(time, 1 / unfolds) : 1 / unfolds;
            x = div(add(x, mul(mul(f, target), h)), add(mul(add(f, leak), h), 1));
          }
          return x;
        },
      );
      const w = p['out_proj.weight'];
      return [linear(cast(states_BTU, w.dtype), w), { cell: cell && cast(next, cell.dtype) }];
    },
  };
});
