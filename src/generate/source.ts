// A stored model before anything is read into it: its JSON files, and its weights one tensor at a time.
// How a name leads to one is the platform's: source.node.ts, source.browser.ts, behind `#source`.

import type { JsonObject } from '../files/json.ts';

export interface StoredWeights {
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly byteLength: number }>;
  /** Errors: `tensor-not-float`, those of the format. */
  readFloat32(name: string): Promise<Float32Array>;
  close(): Promise<void>;
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

/** For a model that must be downloaded first. */
export interface FetchOptions {
  readonly onDownload?: ((progress: { doneBytes: number; totalBytes: number }) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}
