// The configuration that XLA's cuDNN flash-attention calls take, as JSON (xla/service/gpu/backend_configs.proto,
// CudnnfMHABackendConfig). Axes: operands are [B, T, H, D], scores [B, H, T, S].

export interface AttentionConfig {
  readonly scale: number;
  readonly causal: boolean;
  /** Shape of the scores, which are never stored. */
  readonly scores: readonly number[];
  readonly products: Readonly<Record<string, unknown>>;
  /** Whether sums must be made in one order: without it the backward pass adds up queries' gradients as they come. */
  readonly deterministic: boolean;
}

function product(
  lhs: { contract: number; batch: readonly number[] },
  rhs: { contract: number; batch: readonly number[] },
) {
  return {
    lhs_contracting_dimensions: [String(lhs.contract)],
    rhs_contracting_dimensions: [String(rhs.contract)],
    lhs_batch_dimensions: lhs.batch.map(String),
    rhs_batch_dimensions: rhs.batch.map(String),
  };
}

/** Batch axes of an array over tokens [B, T, H, D], and of one over scores [B, H, T, S]. */
const tokens = [0, 2];
const scores = [0, 1];

export const forwardProducts = {
  bmm1_dot_dimension_numbers: product({ contract: 3, batch: tokens }, { contract: 3, batch: tokens }),
  bmm2_dot_dimension_numbers: product({ contract: 3, batch: scores }, { contract: 1, batch: tokens }),
};

export const backwardProducts = {
  bmm1_grad_gemm1_dot_dimension_numbers: product({ contract: 2, batch: scores }, { contract: 1, batch: tokens }),
  bmm1_grad_gemm2_dot_dimension_numbers: product({ contract: 3, batch: scores }, { contract: 1, batch: tokens }),
  bmm2_grad_gemm1_dot_dimension_numbers: product({ contract: 2, batch: scores }, { contract: 1, batch: tokens }),
  bmm2_grad_gemm2_dot_dimension_numbers: product({ contract: 3, batch: tokens }, { contract: 3, batch: tokens }),
};

/** XLA picks the plan itself: the algorithm's fields are placeholders that its parser wants. */
const algorithm = {
  algo_id: '0',
  math_type: 'TENSOR_OP_MATH',
  tuning_knobs: { '17': '1', '24': '0' },
  is_cudnn_frontend: true,
  workspace_size: '0',
};

export function attentionConfig({ scale, causal, scores: shape, products, deterministic }: AttentionConfig): string {
  return JSON.stringify({
    operation_queue_id: '0',
    cudnn_fmha_backend_config: {
      algorithm,
      fmha_scale: scale,
      intermediate_tensor_shape: {
        element_type: 'BF16',
        dimensions: shape.map(String),
        tuple_shapes: [],
        layout: {
          dim_level_types: [],
          dim_unique: [],
          dim_ordered: [],
          minor_to_major: ['3', '2', '1', '0'],
          tiles: [],
          element_size_in_bits: '0',
          memory_space: '0',
          index_primitive_type: 'PRIMITIVE_TYPE_INVALID',
          pointer_primitive_type: 'PRIMITIVE_TYPE_INVALID',
          dynamic_shape_metadata_prefix_bytes: '0',
        },
        is_dynamic_dimension: [false, false, false, false],
      },
      is_flash_attention: true,
      mask_type: causal ? 'CAUSAL' : 'NO_MASK',
      ...products,
      dropout_rate: 0.0,
      seed: 42,
      sliding_window_length: 0,
      max_seg_per_batch: 1,
      is_paged_attention: false,
      ...(deterministic && { force_deterministic: true }),
    },
  });
}
