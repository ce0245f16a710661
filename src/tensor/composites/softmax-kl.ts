// softmax_kl: how far a student's distribution over a vocabulary is from a teacher's, from both's hidden states, without ever
// holding the whole [tokens, vocabulary] array of either. Shapes: N tokens, V classes, D and E widths.
import { vectorJacobian } from '../autodiff.ts';
import { defineComposite } from '../definition.ts';
import { LfmError } from '../error.ts';
import {
  add,
  cast,
  div,
  dotGeneral,
  eq,
  exp,
  expandDims,
  full,
  gatherFrom,
  ge,
  iota,
  linear,
  log,
  max,
  maximum,
  mul,
  select,
  sliceAxis,
  sub,
  sum,
  tanh,
  topK,
} from '../functions.ts';
import type { Tensor } from '../tracer.ts';
import { decompositionOf, emit } from '../tracer.ts';
import { inRuns } from './cross-entropy.ts';

/** What the loss is; `nextToken` is the share of the student's cross entropy in it, 0 to 1, the rest is the divergence. */
export type SoftmaxKlAttributes = {
  /** Into how many runs of tokens the work is cut; the token count must be a multiple. */
  readonly chunks: number;
  readonly temperature: number;
  readonly nextToken: number;
  /** Absent: the divergence over all classes. Given: the decoupled objective of the teacher's `topK` likeliest. */
  readonly topK?: number;
  /** Logits l stand for c tanh(l / c). */
  readonly softCap?: number;
  readonly teacherSoftCap?: number;
};

interface Logits {
  /** [N, V], float32 or wider. */
  readonly values: Tensor;
  /** tanh(l / c), where there is a cap. */
  readonly bent: Tensor | undefined;
}

function logitsOf(x: Tensor, w: Tensor, softCap: number | undefined): Logits {
  const product = linear(x, w);
  const raw = x.dtype === 'float64' ? product : cast(product, 'float32');
  const bent = softCap === undefined ? undefined : tanh(mul(raw, 1 / softCap));
  return { values: bent && softCap !== undefined ? mul(bent, softCap) : raw, bent };
}

/** exp(logits - largest), 0 where `among` is false, their sums [N], and the logarithms of the sums of exp(logits). */
function powersOf(logits: Tensor, among?: Tensor): { powers: Tensor; total: Tensor; logTotal: Tensor } {
  const seen = among ? select(among, logits, full(logits.dtype, [], -1e30)) : logits;
  const top = max(seen, [-1]);
  const powers = exp(sub(seen, expandDims(top, -1)));
  const total = sum(powers, [-1]);
  return { powers, total, logTotal: add(top, log(total)) };
}

/** A divergence [N], and its slope by the student's logits [N, V]. */
interface Divergence {
  readonly value: Tensor;
  readonly slope: Tensor;
}

/**
 * KL(p || q) of p = softmax(t / τ) and q = softmax(s / τ), times τ² so that slopes keep their size (Hinton et al. 2015, arXiv
 * 1503.02531), over the classes in `among`.
 */
function tempered(teacher: Tensor, student: Tensor, temperature: number, among?: Tensor): Divergence {
  const [t, s] =
    temperature === 1 ? [teacher, student] : [mul(teacher, 1 / temperature), mul(student, 1 / temperature)];
  const [of, by] = [powersOf(t, among), powersOf(s, among)];
  const p = div(of.powers, expandDims(of.total, -1));
  const q = div(by.powers, expandDims(by.total, -1));
  // Σ p (t - s) - log Σ exp t + log Σ exp s
  const value = add(sum(mul(p, sub(t, s)), [-1]), sub(by.logTotal, of.logTotal));
  return { value: mul(value, temperature ** 2), slope: mul(sub(q, p), temperature) };
}

/**
 * LFM2's decoupled objective (arXiv 2511.23404): with M the teacher's K likeliest classes, the divergence of the two Bernoulli
 * distributions of falling into M, at no temperature, and, weighted with the teacher's share of M, the tempered divergence
 * within M. What lies outside M is not told apart. Classes as likely as the K-th belong to M too.
 */
function decoupled(teacher: Tensor, student: Tensor, temperature: number, k: number): Divergence {
  const least = sliceAxis(topK(teacher, k).values, 1, k - 1, k);
  const among = ge(teacher, least);
  const zero = full(teacher.dtype, [], 0);
  const parts = (logits: Tensor) => {
    const { powers, total } = powersOf(logits);
    const share = div(powers, expandDims(total, -1));
    const rest = sum(select(among, zero, share), [-1]);
    return { share, mass: maximum(sum(select(among, share, zero), [-1]), 1e-30), rest: maximum(rest, 1e-30) };
  };
  const [of, by] = [parts(teacher), parts(student)];
  const term = (a: Tensor, b: Tensor) => mul(a, sub(log(a), log(b)));
  const inside = tempered(teacher, student, temperature, among);
  const ratio = (own: Tensor, theirs: Tensor) => expandDims(sub(1, div(theirs, own)), -1);
  const outer = mul(by.share, select(among, ratio(by.mass, of.mass), ratio(by.rest, of.rest)));
  return {
    value: add(add(term(of.mass, by.mass), term(of.rest, by.rest)), mul(of.mass, inside.value)),
    slope: add(outer, mul(inside.slope, expandDims(of.mass, -1))),
  };
}

/** All results for some tokens: see the composite. */
function part(
  [x, labels, weights, teacherX]: readonly Tensor[],
  w: Tensor,
  teacherW: Tensor,
  { temperature, nextToken, topK: k, softCap, teacherSoftCap }: SoftmaxKlAttributes,
): Tensor[] {
  if (!x || !labels || !weights || !teacherX) throw badOperands();
  const { values: student, bent } = logitsOf(x, w, softCap);
  const { values: own } = logitsOf(teacherX, teacherW, teacherSoftCap);
  const teacher = own.dtype === student.dtype ? own : cast(own, student.dtype);
  const lossesOf = (logits: Tensor) =>
    sub(powersOf(logits).logTotal, gatherFrom(logits, labels, { axis: 1, batchDims: 1 }));
  const weighted = (values: Tensor) => sum(mul(weights, values), [0]);
  const { value, slope } =
    k === undefined ? tempered(teacher, student, temperature) : decoupled(teacher, student, temperature, k);
  const [divergence, studentLoss, teacherLoss] = [value, lossesOf(student), lossesOf(teacher)].map(weighted);
  if (!divergence || !studentLoss || !teacherLoss) throw badOperands();
  let direction = slope;
  let loss = divergence;
  if (nextToken > 0) {
    const { powers, total } = powersOf(student);
    const share = div(powers, expandDims(total, -1));
    const isLabel = eq(iota('int32', share.shape, 1), expandDims(labels, -1));
    direction = add(mul(slope, 1 - nextToken), mul(select(isLabel, sub(share, 1), share), nextToken));
    loss = add(mul(divergence, 1 - nextToken), mul(studentLoss, nextToken));
  }
  const scaled = mul(direction, expandDims(weights, -1));
  const dLogits = cast(bent ? mul(scaled, sub(1, mul(bent, bent))) : scaled, x.dtype);
  const plain = { lhsBatching: [], rhsBatching: [], preferredType: x.dtype };
  return [
    loss,
    dotGeneral(dLogits, w, { ...plain, lhsContracting: [1], rhsContracting: [0] }),
    dotGeneral(dLogits, x, { ...plain, lhsContracting: [0], rhsContracting: [0] }),
    divergence,
    studentLoss,
    teacherLoss,
  ];
}

function badOperands(): LfmError {
  return new LfmError('shape-mismatch', 'softmax_kl expects x, w, labels, weights, and the teacher’s x and w.');
}

/**
 * softmax_kl(x [N, D], w [V, D], labels [N] int32, weights [N], teacherX [N, E], teacherW [V, E]) -> loss, dx [N, D], dw [V, D],
 * divergence, studentLoss, teacherLoss: sums over tokens of weights[n] times each, in nats. The gradients are residuals, made
 * while the logits are at hand.
 */
defineComposite<SoftmaxKlAttributes>({
  kind: 'softmax_kl',
  decompose: ([x, w, labels, weights, teacherX, teacherW], attributes) => {
    if (!x || !w || !labels || !weights || !teacherX || !teacherW) throw badOperands();
    return inRuns(
      'softmax_kl',
      [x, labels, weights, teacherX],
      attributes.chunks,
      (some) => part(some, w, teacherW, attributes),
      ['sum', 'rows', 'sum', 'sum', 'sum', 'sum'],
    );
  },
  gradient: ({ operands, attributes, results: [, dx, dw], cotangents, needed }) => {
    const [dLoss, ...others] = cotangents;
    const [x, w] = operands;
    // A derivative of what is only told, of the derivative, or by the teacher or the weights: the logits are held.
    if (others.some(Boolean) || needed.slice(2).includes(true))
      return vectorJacobian(decompositionOf('softmax_kl', operands, attributes), operands, cotangents);
    if (!x || !w || !dx || !dw || !dLoss) return [];
    return [mul(dx, cast(dLoss, x.dtype)), mul(dw, cast(dLoss, w.dtype))];
  },
});

export interface SoftmaxKl {
  /** The mixture that is trained on, and its parts, each a weighted sum over the tokens in nats. */
  readonly loss: Tensor;
  readonly divergence: Tensor;
  readonly studentLoss: Tensor;
  readonly teacherLoss: Tensor;
}

/**
 * See the composite. `labels` are for the cross entropies of both. Errors: `indivisible` where `chunks` does not divide N;
 * `shape-mismatch` where the two vocabularies differ in size.
 */
export function softmaxKl(
  student: { readonly x: Tensor; readonly w: Tensor },
  teacher: { readonly x: Tensor; readonly w: Tensor },
  labels: Tensor,
  weights: Tensor,
  attributes: SoftmaxKlAttributes,
): SoftmaxKl {
  const [classes, theirs] = [student.w.dim(0), teacher.w.dim(0)];
  if (classes !== theirs)
    throw new LfmError('shape-mismatch', `softmax_kl: the student scores ${classes} classes, the teacher ${theirs}.`);
  const operands = [student.x, student.w, labels, weights, teacher.x, teacher.w];
  const [loss, , , divergence, studentLoss, teacherLoss] = emit('softmax_kl', operands, attributes);
  if (!loss || !divergence || !studentLoss || !teacherLoss)
    throw new LfmError('no-result', 'softmax_kl gave no result.');
  return { loss, divergence, studentLoss, teacherLoss };
}
