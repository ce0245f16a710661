// Where each operator stands in the design space of adaptive linear operators y_i = Σ_j T_ij(x) x_j: how T mixes tokens, how it
// mixes channels, and what makes its features (Thomas et al. 2024, arXiv 2411.17800, section 2).

/** Structure of T over tokens, from a token alone to all of them. */
export const tokenMixings = ['diagonal', 'scaled Toeplitz', 'semi-separable', 'low rank'] as const;
/** Beside them `nonlinear`: there is no T, since the state itself steers what becomes of the state. */
export const tokenPlaces = [...tokenMixings, 'nonlinear'] as const;
/** Structure of T over channels. */
export const channelMixings = ['diagonal', 'grouped', 'dense'] as const;

export interface Classification {
  readonly tokenMixing: (typeof tokenPlaces)[number];
  readonly channelMixing: (typeof channelMixings)[number];
  /** What makes the features from the input. */
  readonly featurizer: string;
}

/** By the name under which an operator is declared. */
export const classifications: Readonly<Record<string, Classification>> = {
  attention: { tokenMixing: 'low rank', channelMixing: 'grouped', featurizer: 'dense, keys repeated over heads' },
  cfc: { tokenMixing: 'nonlinear', channelMixing: 'dense', featurizer: 'dense; elapsed time' },
  gated_delta: {
    tokenMixing: 'semi-separable',
    channelMixing: 'grouped',
    featurizer: 'dense, short kernels; head gates',
  },
  latent_attention: {
    tokenMixing: 'low rank',
    channelMixing: 'grouped',
    featurizer: 'dense, through a narrow latent',
  },
  linear_attention: { tokenMixing: 'low rank', channelMixing: 'grouped', featurizer: 'dense, made positive' },
  long_conv: {
    tokenMixing: 'scaled Toeplitz',
    channelMixing: 'diagonal',
    featurizer: 'dense, short kernel; an implicit filter',
  },
  ltc: { tokenMixing: 'nonlinear', channelMixing: 'dense', featurizer: 'dense; elapsed time' },
  mamba: { tokenMixing: 'semi-separable', channelMixing: 'diagonal', featurizer: 'dense, short kernel; time steps' },
  mamba2: { tokenMixing: 'semi-separable', channelMixing: 'diagonal', featurizer: 'dense, short kernels; time steps' },
  mlp: { tokenMixing: 'diagonal', channelMixing: 'dense', featurizer: 'dense, one group or two' },
  moe: { tokenMixing: 'diagonal', channelMixing: 'dense', featurizer: 'dense, two groups; a router' },
  shared_transformer: {
    tokenMixing: 'low rank',
    channelMixing: 'dense',
    featurizer: 'dense, from stream and embeddings',
  },
  short_conv: {
    tokenMixing: 'scaled Toeplitz',
    channelMixing: 'diagonal',
    featurizer: 'dense; a short kernel of its own',
  },
  swiglu: { tokenMixing: 'diagonal', channelMixing: 'dense', featurizer: 'dense, two groups' },
};
