// @ts-check
// ema: each channel's exponential moving average with a decay of its own, gated. An operator outside lfm, in one file.
// y_t = silu(gate_t) * h_t with h_t = a h_{t-1} + (1 - a) u_t. Shapes: B rows, T tokens, D channels.
import { fixed, operator, weight } from 'lfm/liquid';
import {
  add,
  broadcastTo,
  cast,
  concatenate,
  eq,
  exp,
  expandDims,
  ge,
  gatherFrom,
  iota,
  linear,
  log,
  logistic,
  matmul,
  maximum,
  mul,
  reshape,
  select,
  silu,
  split,
  sub,
  transpose,
} from 'lfm/tensor';

export const ema = operator('ema', (/** @type {{ memory?: number }} */ { memory = 2 }) => ({
  scope: 'ema',
  parameters: ({ hiddenSize: d }) => ({
    'in_proj.weight': weight([2 * d, d], ['channels', 'hidden']),
    // The decay before its sigmoid: it starts from channels that remember little, much, and anything between.
    decay: { shape: [d], axes: ['channels'], init: { std: memory }, decay: false },
    'out_proj.weight': weight([d, d], ['hidden', 'channels']),
  }),
  state: ({ hiddenSize: d }) => ({ average: fixed([d]) }),
  featurize: (p, x_BTD) => split(linear(x_BTD, p['in_proj.weight']), ['u', 'gate']),
  mix: (p, { u, gate }, { average }, { lengths, segments }) => {
    const [b = 1, t = 1, d = 1] = u.shape;
    const logDecay_D = log(logistic(p.decay));
    // Written out, h_i = Σ_j (1 - a) a^(i - j) u_j over j <= i. So all tokens go at once, as a product with a matrix for each
    // channel: right for some hundred tokens, where a long text would go in chunks.
    const lag_TT = sub(iota('int32', [t, 1], 0), iota('int32', [1, t], 1));
    const past_TT = ge(lag_TT, 0);
    // The future's lags are cut off first: their powers would overflow, and so would the gradients.
    const power_DTT = exp(mul(reshape(logDecay_D, [d, 1, 1]), cast(maximum(lag_TT, 0), u.dtype)));
    const weights_DTT = select(past_TT, mul(reshape(sub(1, logistic(p.decay)), [d, 1, 1]), power_DTT), 0);
    const weights_BDTT = broadcastTo(weights_DTT, [b, d, t, t]);
    // Documents packed into one row do not see each other.
    const own_BDTT = segments
      ? select(expandDims(eq(expandDims(segments, 2), expandDims(segments, 1)), 1), weights_BDTT, 0)
      : weights_BDTT;
    const u_BDT = transpose(u, [0, 2, 1]);
    const h_BTD = transpose(reshape(matmul(own_BDTT, expandDims(u_BDT, 3)), [b, d, t]), [0, 2, 1]);
    /** @param {import('lfm/tensor').Tensor} h */
    const out = (h) => linear(mul(silu(gate), h), p['out_proj.weight']);
    if (!average || !lengths) return [out(h_BTD), { average }];

    // In generation: what the row remembers fades with each token, and the last valid token's average is remembered next.
    const age_T1 = cast(add(iota('int32', [t, 1], 0), 1), u.dtype);
    const faded_BTD = mul(expandDims(average, 1), exp(mul(age_T1, expandDims(logDecay_D, 0))));
    const all_BTD = add(h_BTD, faded_BTD);
    // A row with no valid token keeps what it had.
    const known = concatenate([expandDims(average, 1), all_BTD], 1);
    const next = reshape(gatherFrom(known, expandDims(lengths, 1), { axis: 1, batchDims: 1 }), [b, d]);
    return [out(all_BTD), { average: next }];
  },
}));
