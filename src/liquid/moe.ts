// moe: a mixture of experts, each a SwiGLU; a router chooses a few for each token (Shazeer et al. 2017, arXiv 1701.06538).
// Routings as in LFM2-MoE, Mixtral, Qwen2-MoE and Jamba. Shapes: B batch, T tokens, E experts, K chosen, D hidden.
import type { Tensor } from '../tensor/index.ts';
import {
  add,
  cast,
  div,
  eq,
  exp,
  expandDims,
  experts,
  gatherFrom,
  iota,
  LfmError,
  linear,
  logistic,
  max,
  mean,
  mul,
  ne,
  reshape,
  sign,
  silu,
  sub,
  sum,
  topK,
} from '../tensor/index.ts';
import { operator } from './operator.ts';
import type { ParameterDeclaration } from './parameter.ts';
import { ruled, weight } from './parameter.ts';

export interface MoeOptions {
  readonly experts: number;
  /** Experts that a token is given to. */
  readonly activeExperts: number;
  /** Width of one expert. */
  readonly intermediateSize: number;
  /** What scores are made of logits: softmax over all experts, or each one’s sigmoid. */
  readonly routing?: 'softmax' | 'sigmoid';
  /** Whether the chosen scores are divided by their sum. */
  readonly normTopK?: boolean;
  readonly routedScale?: number;
  /** A number an expert that is added for the choice alone; it has no gradient, and evens out the load: see `balanceRate`. */
  readonly expertBias?: boolean;
  /** How far a step of training moves that number; 0 leaves it as it is. */
  readonly balanceRate?: number;
  /** Width of an expert that every token is given to. */
  readonly sharedIntermediateSize?: number;
  /** Whether the shared expert’s output is multiplied by a sigmoid of the token. */
  readonly sharedGate?: boolean;
}

function requireOptions({ experts, activeExperts, intermediateSize }: MoeOptions): void {
  const whole = [experts, activeExperts, intermediateSize].every((one) => Number.isSafeInteger(one) && one >= 1);
  if (whole && activeExperts <= experts) return;
  throw new LfmError(
    'bad-experts',
    `moe: expected whole numbers from 1, and activeExperts up to experts; found ${activeExperts} of ${experts} experts of width ${intermediateSize}.`,
  );
}

/** Scores [B, T, E] in float32. */
function scoresOf(logits: Tensor, routing: 'softmax' | 'sigmoid'): Tensor {
  const wide = cast(logits, logits.dtype === 'float64' ? 'float64' : 'float32');
  if (routing === 'sigmoid') return logistic(wide);
  const powers = exp(sub(wide, expandDims(max(wide, [-1]), -1)));
  return div(powers, expandDims(sum(powers, [-1]), -1));
}

export const moe = operator('moe', (options: MoeOptions) => {
  requireOptions(options);
  const { experts: count, activeExperts, intermediateSize: f, routing = 'softmax', normTopK = true } = options;
  const { routedScale = 1, expertBias = false, balanceRate = 1e-3 } = options;
  const { sharedIntermediateSize: shared, sharedGate = false } = options;
  const wide = ['experts', 'intermediate', 'hidden'];
  return {
    scope: 'feed_forward',
    parameters: ({ hiddenSize: d }) => {
      const declared: Record<
        'gate.weight' | 'experts.w1.weight' | 'experts.w3.weight' | 'experts.w2.weight',
        ParameterDeclaration
      > = {
        'gate.weight': weight([count, d], ['routes', 'hidden']),
        'experts.w1.weight': weight([count, f, d], wide),
        'experts.w3.weight': weight([count, f, d], wide),
        'experts.w2.weight': weight([count, d, f], ['experts', 'hidden', 'intermediate']),
      };
      return {
        ...declared,
        ...(expertBias && { expert_bias: ruled([count], ['routes'], balancing(balanceRate)) }),
        ...(shared !== undefined && {
          'shared_expert.w1.weight': weight([shared, d], ['intermediate', 'hidden']),
          'shared_expert.w3.weight': weight([shared, d], ['intermediate', 'hidden']),
          'shared_expert.w2.weight': weight([d, shared], ['hidden', 'intermediate']),
          ...(sharedGate && { 'shared_expert_gate.weight': weight([1, d], ['one', 'hidden']) }),
        }),
      };
    },
    featurize: (p, x) => {
      const scores = scoresOf(linear(x, p['gate.weight']), routing);
      const judged = p.expert_bias ? add(scores, cast(p.expert_bias, scores.dtype)) : scores;
      const { indices } = topK(judged, activeExperts);
      const picked = gatherFrom(scores, indices, { axis: 2, batchDims: 2 });
      // LFM2-MoE keeps the sum from 0 in this way; a softmax’s cannot be.
      const floor = routing === 'sigmoid' ? 1e-6 : 0;
      const shares = normTopK ? div(picked, add(expandDims(sum(picked, [-1]), -1), floor)) : picked;
      return { x, indices, shares: cast(mul(shares, routedScale), x.dtype) };
    },
    mix: (p, { x, indices, shares }, state) => {
      const weights = { w1: p['experts.w1.weight'], w3: p['experts.w3.weight'], w2: p['experts.w2.weight'] };
      const routed = experts(x, indices, shares, weights);
      const [w1, w3, w2] = ['w1', 'w3', 'w2'].map(
        (name) => (p as Readonly<Record<string, Tensor>>)[`shared_expert.${name}.weight`],
      );
      let y = routed;
      if (w1 && w3 && w2) {
        const common = linear(mul(silu(linear(x, w1)), linear(x, w3)), w2);
        const gate = p['shared_expert_gate.weight'];
        y = add(routed, gate ? mul(common, logistic(linear(x, gate))) : common);
      }
      return [y, state];
    },
    ...(expertBias && {
      observe: ({ indices }: { readonly indices: Tensor }, counted: Tensor) => ({
        expert_bias: loadOf(indices, counted, count),
      }),
    }),
  };
});

/** Tokens given to each expert, [E] float32, of indices [B, T, K]; those that `counted` [B, T] is 0 for are left out. */
function loadOf(indices: Tensor, counted: Tensor, count: number): Tensor {
  const isOf = cast(eq(expandDims(indices, -1), iota('int32', [1, 1, 1, count], 3)), 'float32');
  const counts = cast(ne(counted, 0), 'float32');
  return sum(mul(isOf, reshape(counts, [...counts.shape, 1, 1])), [0, 1, 2]);
}

/**
 * Balancing without an auxiliary loss (Wang et al. 2024, arXiv 2408.15664): the bias of an expert that got less than its share
 * of a step's tokens rises by `rate`, that of one that got more falls by it.
 */
const balancing = (rate: number) => (bias: Tensor, load: Tensor) =>
  add(bias, mul(sign(sub(mean(load, [0]), load)), rate));
