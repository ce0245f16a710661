// From a GGUF file to the same model as Hugging Face lays it out: its config.json, and where each tensor is found.
// Keys and names: llama.cpp's gguf-py constants; the order of rotary rows: its convert_hf_to_gguf.py.
import type { GgufHeader, GgufValue } from '../files/gguf.ts';
import type { JsonObject } from '../files/json.ts';
import { LfmError } from '../tensor/error.ts';
import { lfm2moe, mixtralLayer, moreArchitectures, scaling } from './gguf-architectures.ts';

/** A tensor of the model, and the file's tensor that it is made of. */
export interface GgufTensorSource {
  readonly from: string;
  readonly shape: readonly number[];
  readonly byteLength: number;
  /** As GGUF spells it. */
  readonly dtype: string;
  /** Set where each head's rows stand in pairs (i, i + half) and must be put back in halves: how many heads. */
  readonly pairedHeads?: number;
  /** Set where the file holds one more than the checkpoint that it was made of: Gemma's norms. */
  readonly plusOne?: boolean;
}

/** How GGUF names the tensors of an architecture, and which it stores in another order. */
export interface GgufNames {
  /** GGUF's name -> Hugging Face's, of tensors of the whole model and of those of a layer. */
  readonly model: Readonly<Record<string, string>>;
  readonly layer: Readonly<Record<string, string>>;
  /** The heads of GGUF's tensors whose rows are paired. */
  readonly paired?: Readonly<Record<string, 'num_attention_heads' | 'num_key_value_heads'>>;
  /** GGUF's tensors that hold one more than Hugging Face's. */
  readonly plusOne?: RegExp;
}

export interface GgufArchitecture extends GgufNames {
  readonly config: (read: Reader, tensors: GgufHeader['tensors']) => JsonObject;
}

const llama: GgufArchitecture = {
  config: (read, tensors) => {
    const experts = read.number('expert_count', 0);
    const heads = read.count('attention.head_count');
    return {
      architectures: [experts > 0 ? 'MixtralForCausalLM' : 'LlamaForCausalLM'],
      model_type: experts > 0 ? 'mixtral' : 'llama',
      ...(experts > 0 && { num_local_experts: experts, num_experts_per_tok: read.count('expert_used_count') }),
      vocab_size: tensors.get('token_embd.weight')?.shape[0],
      hidden_size: read.count('embedding_length'),
      intermediate_size: read.count('feed_forward_length'),
      num_hidden_layers: read.count('block_count'),
      num_attention_heads: heads,
      num_key_value_heads: read.count('attention.head_count_kv', heads),
      head_dim: read.count('attention.key_length', read.count('embedding_length') / heads),
      rms_norm_eps: read.number('attention.layer_norm_rms_epsilon'),
      rope_theta: read.number('rope.freq_base', 10_000),
      max_position_embeddings: read.count('context_length'),
      tie_word_embeddings: !tensors.has('output.weight'),
      ...scaling(read, tensors),
    };
  },
  model: { token_embd: 'embed_tokens', output_norm: 'norm' },
  layer: {
    attn_norm: 'input_layernorm',
    attn_q: 'self_attn.q_proj',
    attn_k: 'self_attn.k_proj',
    attn_v: 'self_attn.v_proj',
    attn_output: 'self_attn.o_proj',
    ffn_norm: 'post_attention_layernorm',
    ffn_gate: 'mlp.gate_proj',
    ffn_up: 'mlp.up_proj',
    ffn_down: 'mlp.down_proj',
    ...mixtralLayer,
  },
  paired: { attn_q: 'num_attention_heads', attn_k: 'num_key_value_heads' },
};

const lfm2: GgufArchitecture = {
  config: (read, tensors) => {
    const depth = read.count('block_count');
    // No key/value heads: a convolution.
    const keyValueHeads = read.list('attention.head_count_kv', depth);
    const widths = [...new Set(keyValueHeads)].filter((count) => count > 0);
    if (widths.length > 1) throw read.unsupported('attention.head_count_kv', keyValueHeads.join(', '));
    const heads = read.list('attention.head_count', depth).filter((count) => count > 0);
    return {
      architectures: ['Lfm2ForCausalLM'],
      model_type: 'lfm2',
      vocab_size: tensors.get('token_embd.weight')?.shape[0],
      hidden_size: read.count('embedding_length'),
      // Some files hold the width before it was adjusted: the tensor itself decides.
      intermediate_size: tensors.get('blk.0.ffn_gate.weight')?.shape[0] ?? read.count('feed_forward_length'),
      block_auto_adjust_ff_dim: false,
      num_hidden_layers: depth,
      layer_types: keyValueHeads.map((count) => (count > 0 ? 'full_attention' : 'conv')),
      num_attention_heads: heads[0],
      num_key_value_heads: widths[0] ?? heads[0],
      conv_L_cache: read.count('shortconv.l_cache'),
      norm_eps: read.number('attention.layer_norm_rms_epsilon'),
      rope_theta: read.number('rope.freq_base', 1_000_000),
      max_position_embeddings: read.count('context_length'),
      tie_word_embeddings: !tensors.has('output.weight'),
    };
  },
  // The final norm went by either name.
  model: { token_embd: 'embed_tokens', token_embd_norm: 'embedding_norm', output_norm: 'embedding_norm' },
  layer: {
    attn_norm: 'operator_norm',
    ffn_norm: 'ffn_norm',
    attn_q: 'self_attn.q_proj',
    attn_k: 'self_attn.k_proj',
    attn_v: 'self_attn.v_proj',
    attn_output: 'self_attn.out_proj',
    attn_q_norm: 'self_attn.q_layernorm',
    attn_k_norm: 'self_attn.k_layernorm',
    ffn_gate: 'feed_forward.w1',
    ffn_up: 'feed_forward.w3',
    ffn_down: 'feed_forward.w2',
    'shortconv.conv': 'conv.conv',
    'shortconv.in_proj': 'conv.in_proj',
    'shortconv.out_proj': 'conv.out_proj',
  },
};

const architectures = new Map<GgufValue | undefined, GgufArchitecture>([
  ['llama', llama],
  ['lfm2', lfm2],
  ['lfm2moe', lfm2moe(lfm2)],
  ...moreArchitectures,
]);

/** Factors of rotary wavelengths that lie among the tensors, and the keys of config.json that they are. */
const rotaryFactors: Readonly<Record<string, readonly RotaryKey[]>> = {
  'rope_freqs.weight': ['short_factor', 'long_factor'],
  'rope_factors_short.weight': ['short_factor'],
  'rope_factors_long.weight': ['long_factor'],
};
type RotaryKey = 'short_factor' | 'long_factor';

/**
 * The config.json of a GGUF file's model, and its tensors by Hugging Face's names.
 * Errors: `gguf-architecture-unsupported` with the known ones; `gguf-metadata-invalid` and `gguf-metadata-unsupported` naming
 * the key; `gguf-tensor-unknown`: a tensor that the model has no place for would be left out of what is computed.
 */
export function openedGguf({ metadata, tensors }: GgufHeader): {
  config: JsonObject;
  tensors: Map<string, GgufTensorSource>;
  /** Keys of the configuration's `rope_scaling` whose values are the numbers of a tensor of the file. */
  rotaryFactors: readonly (readonly [key: RotaryKey, tensor: string])[];
} {
  const name = metadata.get('general.architecture');
  const architecture = architectures.get(name);
  if (!architecture || typeof name !== 'string') {
    const shown = typeof name === 'string' ? JSON.stringify(name.slice(0, 80)) : 'none';
    throw new LfmError(
      'gguf-architecture-unsupported',
      `general.architecture: expected one of ${[...architectures.keys()].join(', ')}; found ${shown}.`,
    );
  }
  const config = architecture.config(new Reader(metadata, name), tensors);
  const found = new Map<string, GgufTensorSource>();
  const factors: [RotaryKey, string][] = [];
  for (const { name: from, shape, byteLength, type } of tensors.values()) {
    const keys = Object.hasOwn(rotaryFactors, from) ? rotaryFactors[from] : undefined;
    if (keys && config.rope_scaling) {
      factors.push(...keys.map((key): [RotaryKey, string] => [key, from]));
      continue;
    }
    const [to, part = ''] = translate(from, architecture);
    const heads = architecture.paired?.[part];
    // The taps of a convolution are stored without the axis of one channel.
    const taps = part === 'shortconv.conv' && shape.length === 2 ? [shape[0] ?? 0, 1, shape[1] ?? 0] : shape;
    // And a matrix of one row without that axis.
    const placed = part === 'ffn_gate_inp_shexp' && shape.length === 1 ? [1, ...shape] : taps;
    found.set(to, {
      from,
      shape: placed,
      byteLength,
      dtype: type.name,
      ...(heads && { pairedHeads: Number(config[heads]) }),
      ...(architecture.plusOne?.test(part) && { plusOne: true }),
    });
  }
  return { config, tensors: found, rotaryFactors: factors };
}

/** Hugging Face's name of a GGUF tensor, and the part of a layer that it is. */
function translate(from: string, { model, layer }: GgufArchitecture): readonly [name: string, part?: string] {
  if (from === 'output.weight') return ['lm_head.weight'];
  const [, depth, part = '', kind = ''] = /^(?:blk\.(\d{1,4})\.)?([a-z_.]+)\.(weight|bias)$/.exec(from) ?? [];
  if (depth !== undefined && part === 'exp_probs_b') return [`model.layers.${depth}.feed_forward.expert_bias`];
  const names = depth === undefined ? model : layer;
  if (Object.hasOwn(names, part)) {
    const prefix = depth === undefined ? 'model.' : `model.layers.${depth}.`;
    return [`${prefix}${names[part]}.${kind}`, part];
  }
  throw new LfmError(
    'gguf-tensor-unknown',
    `The model has no place for the tensor ${JSON.stringify(from)} of the file.`,
  );
}

/** Puts rows that stand in pairs back in halves, as transformers turns them. @param x [heads * rows of a head, columns] */
export function unpair<T extends Float32Array | Uint8Array>(x: T, heads: number, columns: number): T {
  const out = x.slice() as T;
  const rows = x.length / columns / heads;
  for (let head = 0; head < heads; head++) {
    for (let row = 0; row < rows; row++) {
      const from = (head * rows + row) * columns;
      const to = head * rows + (row % 2) * (rows / 2) + Math.floor(row / 2);
      out.set(x.subarray(from, from + columns), to * columns);
    }
  }
  return out;
}

/** The other way: rows of each head's halves in pairs (i, i + half), as GGUF has them. @param x as `unpair` takes it */
export function pair(x: Float32Array, heads: number, columns: number): Float32Array {
  const out = new Float32Array(x.length);
  const rows = x.length / columns / heads;
  for (let head = 0; head < heads; head++) {
    for (let row = 0; row < rows; row++) {
      const from = (head * rows + (row % 2) * (rows / 2) + Math.floor(row / 2)) * columns;
      out.set(x.subarray(from, from + columns), (head * rows + row) * columns);
    }
  }
  return out;
}

/** The names of an architecture's tensors; undefined where it has no place in GGUF that is known here. */
export function ggufNames(architecture: unknown): GgufNames | undefined {
  return typeof architecture === 'string' ? architectures.get(architecture) : undefined;
}

/** Reads the metadata of one architecture. */
export class Reader {
  readonly #metadata: ReadonlyMap<string, GgufValue>;
  readonly #prefix: string;

  constructor(metadata: ReadonlyMap<string, GgufValue>, prefix: string) {
    this.#metadata = metadata;
    this.#prefix = prefix;
  }

  get(key: string): GgufValue | undefined {
    return this.#metadata.get(`${this.#prefix}.${key}`);
  }

  number(key: string, absent?: number): number {
    const value = this.get(key) ?? absent;
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    throw this.#invalid(key, 'a number', value);
  }

  count(key: string, absent?: number): number {
    const value = this.number(key, absent);
    if (Number.isInteger(value) && value > 0) return value;
    throw this.#invalid(key, 'a whole number above 0', value);
  }

  /** A number for each layer, or one for all. */
  list(key: string, depth: number): number[] {
    const value = this.get(key);
    if (typeof value === 'number' && depth <= 1024) return Array.from({ length: depth }, () => value);
    if ((value instanceof Int32Array || value instanceof Uint32Array) && value.length === depth) return [...value];
    throw this.#invalid(key, `a list of ${depth} numbers, one a layer`, value);
  }

  #invalid(key: string, expected: string, found: GgufValue | undefined): LfmError {
    const shown = typeof found === 'object' ? `a list of ${found.length}` : String(found ?? 'nothing').slice(0, 80);
    return new LfmError(
      'gguf-metadata-invalid',
      `The metadata ${this.#prefix}.${key}: expected ${expected}; found ${shown}.`,
    );
  }

  unsupported(key: string, found: GgufValue): LfmError {
    return new LfmError(
      'gguf-metadata-unsupported',
      `The metadata ${this.#prefix}.${key} is ${JSON.stringify(String(found).slice(0, 80))}, which is not known here.`,
    );
  }
}
