// A stored model before anything is read into it: its JSON files, and its weights one tensor at a time.
// How a name leads to one is the platform's: source.node.ts, source.browser.ts, behind `#source`.

import type { JsonObject } from '../files/json.ts';
import type { QuantizedMatrix } from '../files/quantized.ts';
import type { QuantizedForm } from '../tensor/index.ts';
import { LfmError } from '../tensor/error.ts';

export interface StoredTensor {
  readonly shape: readonly number[];
  /** As stored: of a packed matrix, all its parts. */
  readonly byteLength: number;
  /** As the format spells it: `bfloat16`, or GGUF's `Q4_1`. */
  readonly dtype: string;
  /** Of a matrix that is stored packed. */
  readonly quantized?: QuantizedForm;
}

export interface StoredWeights {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Any tensor as floats, a packed one too. Errors: `tensor-not-float`, `quantized-scale`, those of the format. */
  readFloat32(name: string): Promise<Float32Array>;
  /** A packed matrix as it is. Errors: `tensor-not-packed`, `quantized-scale`, those of the format. */
  readQuantized(name: string): Promise<QuantizedMatrix>;
  /** Of the files: changes when they do. Absent: what is made of these weights is not worth keeping. */
  readonly identity?: string | undefined;
  /** Where what was found out about these weights outlives the process; absent: nowhere. */
  readonly notes?: Notes | undefined;
  close(): Promise<void>;
}

/** Short texts by what they say. Where they cannot be read or written there is nothing, and no error. */
export interface Notes {
  read(about: string): Promise<string | undefined>;
  write(about: string, text: string): Promise<void>;
}

export interface ModelSource {
  readonly name: string;
  /** config.json. */
  readonly config: unknown;
  readonly generationConfig: unknown;
  /** tokenizer.json. */
  readonly tokenizer: JsonObject | undefined;
  readonly tokenizerConfig: unknown;
  /** The text of chat_template.jinja. */
  readonly chatTemplate: string | undefined;
  readonly weights: StoredWeights;
}

/** The file of a source's tokenizer. Errors: `tokenizer-missing`. */
export function requireTokenizer({ tokenizer, name }: ModelSource): JsonObject {
  if (tokenizer !== undefined) return tokenizer;
  throw new LfmError(
    'tokenizer-missing',
    `${name}: expected a tokenizer.json beside config.json; without it there is no text.`,
  );
}

/** A LoRA adapter as peft stores it. */
export interface AdapterSource extends Pick<StoredWeights, 'readFloat32' | 'close'> {
  /** adapter_config.json. */
  readonly config: unknown;
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>;
}

/** For a model that must be downloaded first. */
export interface FetchOptions {
  readonly onDownload?: ((progress: { doneBytes: number; totalBytes: number }) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** In a browser: sent with each request for the model's files. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}
