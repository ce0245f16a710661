// Mixtures of experts over a mesh: each device sorts its own tokens and multiplies them with the experts that it holds; what the
// devices give is added up. Left to the partitioner, a loop over experts would bring all weights to every device.
import type { Operation, Program } from '../../tensor/index.ts';
import { expanded, withoutIdleHistory } from '../../tensor/index.ts';
import { decompositionOf } from '../../tensor/tracer.ts';
import type { LowerBody } from './control.ts';
import type { Emitter, Ref, Rule, TensorType } from './emitter.ts';
import { reduced } from './contraction.ts';
import { sumType } from './emitter.ts';
import type { Mesh } from './mesh.ts';
import { partsOf } from './mesh.ts';
import { divisionOf } from './sharding.ts';
import type { Division } from './shardy.ts';
import { onEachDevice } from './shardy.ts';

/** Whether an operation is one of those that `expertRules` lowers: with so few tokens that weights are gathered it is not. */
export function isDivided({ kind, results }: Operation): boolean {
  return kind === 'experts_grad' || (kind === 'experts' && results.length === 3);
}

interface Divisions {
  readonly rows: Division;
  /** Of w1 and w3, and of w2. */
  readonly wide: Division;
  readonly back: Division;
}

function divisionsOf(mesh: Mesh, x: Ref, w1: Ref, w2: Ref): Divisions {
  const leading = x.shape.length === 3 ? ['batch', 'length'] : x.shape.slice(1).map(() => 'one');
  return {
    rows: divisionOf(mesh, { shape: x.shape, axes: [...leading, 'one'] }),
    wide: divisionOf(mesh, { shape: w1.shape, axes: ['experts', 'intermediate', 'one'] }),
    back: divisionOf(mesh, { shape: w2.shape, axes: ['experts', 'one', 'intermediate'] }),
  };
}

/** The number of each device's first expert, int32 [P] over the axes that divide the experts. */
function firstExperts(emitter: Emitter, parts: number, experts: number): Ref {
  const type: TensorType = { dtype: 'int32', shape: [parts] };
  const part = emitter.one('stablehlo.iota', [], type, 'iota_dimension = 0 : i64');
  return emitter.one('stablehlo.multiply', [part, emitter.filled(type, experts / parts)], type);
}

function localProgram(kind: string, operands: readonly Ref[]): Program {
  const attributes = kind === 'experts' ? { part: true } : { part: true, kept: false };
  return withoutIdleHistory(expanded(decompositionOf(kind, operands, attributes), () => false));
}

/** Lowers experts and experts_grad for a mesh. Residuals are not kept between them: each device's differ. */
export function expertRules(mesh: Mesh, lowerBody: LowerBody): Readonly<Record<string, Rule>> {
  const rule: Rule = (emitter, { kind, operands, results }) => {
    const isForward = kind === 'experts';
    const refs = operands.slice(0, isForward ? 6 : 7).map((value) => emitter.ref(value));
    const [x, , , w1, , w2] = refs;
    if (!x || !w1 || !w2) return;
    const { rows, wide, back } = divisionsOf(mesh, x, w1, w2);
    const experts = wide[0] ?? [];
    const parts = partsOf(mesh, experts);
    const given = [rows, rows, rows, wide, wide, back, ...(isForward ? [] : [rows])];
    const first = { ref: firstExperts(emitter, parts, w1.shape[0] ?? 1), division: [experts] };
    // Tokens' results are sums over the devices that hold the weights, weights' gradients over those that hold the tokens.
    const [overWeights, overRows] = [wide.flat(), rows.flat()];
    const wanted = isForward
      ? [{ over: overWeights, division: rows }]
      : [
          { over: overWeights, division: rows },
          { over: overWeights, division: rows },
          { over: overRows, division: wide },
          { over: overRows, division: wide },
          { over: overRows, division: back },
        ];
    const stacks = wanted.map(({ over, division }, index) => {
      const { dtype, shape } = emitter.typeOf(results[index] ?? { dtype: x.dtype, shape: [] });
      return { type: { dtype, shape: [partsOf(mesh, over), ...shape] }, division: [over, ...division] };
    });
    const found = onEachDevice(
      emitter,
      mesh,
      [...refs.map((ref, index) => ({ ref, division: given[index] ?? [] })), first],
      stacks,
      (inner, locals) => {
        const own = locals.map((ref, index) => (index === refs.length ? inner.reshape(ref, []) : ref));
        const program = localProgram(kind, own);
        program.inputs.forEach(({ value }, index) => inner.define(value, own[index]));
        return lowerBody(inner, program)
          .slice(0, stacks.length)
          .map((ref) => inner.reshape(ref, [1, ...ref.shape]));
      },
    );
    results.forEach((result, index) => {
      const stack = found[index];
      if (!stack) return emitter.define(result, emitter.filled(emitter.typeOf(result), 0));
      const total = reduced(emitter, emitter.convert(stack, sumType(stack.dtype)), 'sum', [0]);
      emitter.define(result, emitter.convert(total, result.dtype));
    });
  };
  return { experts: rule, experts_grad: rule };
}
