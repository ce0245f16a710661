// What an operator of the design space is put together from: names of its parts, STAR's numbers for them, and options as values.
import * as z from 'zod';
import { LfmError } from '../../tensor/error.ts';
import type { Classification, tokenMixings } from '../classification.ts';

export type TokenMixing = (typeof tokenMixings)[number];
export type ChannelMixing = Classification['channelMixing'];

// A part's number in an operator genome is its place here, from 1 (arXiv 2411.17800, operator genomes). STAR has four
// nonlinearities; `elu + 1`, with the sum that divides by it, is ours: linear attention.
export const tokenMixingCodes = ['diagonal', 'low rank', 'scaled Toeplitz', 'semi-separable'] as const;
export const channelMixingCodes = ['diagonal', 'dense', 'grouped'] as const;
export const sparsityCodes = ['none', 'window'] as const;
export const nonlinearityCodes = ['none', 'softmax', 'relu', 'silu', 'elu + 1'] as const;

export type Nonlinearity = (typeof nonlinearityCodes)[number];

/** Feature groups: what reads (queries, output gates), what writes (keys, input gates), what is carried, what filters. */
export const roles = ['c', 'b', 'v', 'kernel'] as const;
export type Role = (typeof roles)[number];

/**
 * How one feature group is made of the input. In `kernel`, which is made of no input: `scaled Toeplitz` is an explicit
 * filter of `expansion` taps, `semi-separable` an implicit one, a sum of `expansion` decaying waves.
 */
export interface FeatureGroup {
  /** `scaled Toeplitz`: a short convolution of the input comes first. */
  readonly tokenMixing: TokenMixing;
  readonly channelMixing: ChannelMixing;
  /** Width over the hidden size; of b and c in a recurrence, the numbers of state that a channel has. */
  readonly expansion: number;
  /** How many heads (or channels) in a row have one feature between them. */
  readonly repeat: number;
}

export type Featurizer = Readonly<Partial<Record<Role, FeatureGroup>>>;

/** An operator y_i = Σ_j T_ij(x) x_j by the parts of T. Plain JSON: it is saved with a model. */
export interface LivOptions {
  /** One of STAR's nine by name, or any other as its groups. */
  readonly featurizer: string | Featurizer;
  readonly tokenMixing: TokenMixing;
  readonly channelMixing: ChannelMixing;
  /** Of T where it is softmax, else of the features that read and write. */
  readonly nonlinearity?: Nonlinearity;
  /** The sparsity of attention: how many tokens back it sees, its own included. Absent: all. */
  readonly window?: number;
  /** The difference of two such operators: `first` less `second`, each with weights of its own. */
  readonly differential?: boolean;
  /** Width of a head. */
  readonly headDim?: number;
  /** Width inside of an operator without tokens to mix. Absent: the featurizer's expansion, two thirds of it if gated. */
  readonly intermediateSize?: number;
  /** Base of the rotary wavelengths of attention. */
  readonly theta?: number;
}

const size = z
  .number()
  .int()
  .min(1)
  .max(2 ** 20);
const groupSchema = z.strictObject({
  tokenMixing: z.enum(tokenMixingCodes),
  channelMixing: z.enum(channelMixingCodes),
  expansion: size,
  repeat: size,
});
const schema = z.strictObject({
  featurizer: z.union([
    z.string(),
    z.strictObject({
      c: groupSchema.exactOptional(),
      b: groupSchema.exactOptional(),
      v: groupSchema.exactOptional(),
      kernel: groupSchema.exactOptional(),
    }),
  ]),
  tokenMixing: z.enum(tokenMixingCodes),
  channelMixing: z.enum(channelMixingCodes),
  nonlinearity: z.enum(nonlinearityCodes).exactOptional(),
  window: size.exactOptional(),
  differential: z.boolean().exactOptional(),
  headDim: size.exactOptional(),
  intermediateSize: size.exactOptional(),
  theta: z.number().positive().exactOptional(),
}) satisfies z.ZodType<LivOptions>;

/** Options from outside. Errors: `bad-liv`, naming the option. */
export function checkedOptions(options: unknown): LivOptions {
  const { data, error } = schema.safeParse(options);
  if (data) return data;
  const [issue] = error.issues;
  throw badLiv(`${issue?.path.join('.') || 'its options'}: ${issue?.message ?? 'not options'}`);
}

export function badLiv(message: string): LfmError {
  return new LfmError('bad-liv', `liv: ${message}.`);
}

/** What could stand in place of a size that must be a multiple of `step`. */
export function fittingSizes(found: number, step: number): string {
  const below = Math.floor(found / step) * step;
  return below > 0 ? `${below} or ${below + step} can` : `${below + step} can`;
}
