// What a page and the worker that runs its model say to each other. Every question has an id; its answers bear the same.
import type { ChatMessage, ChatOptions } from '../generate/chat.ts';
import type { CacheStatistics } from '../generate/prefix-cache.ts';
import type { TextOptions } from '../generate/model.ts';
import type { Details } from '../generate/reply.ts';
import type { ReplyForm } from '../generate/reply-form.ts';
import type { FinishReason } from '../generate/stream.ts';
import type { Numerics } from '../generate/weights.ts';

export type TabEngine = 'auto' | 'webgpu' | 'wasm';

export interface TabLoadSettings {
  /** Default 'auto': a GPU where the browser offers one that is no imitation in software, else WebAssembly. */
  readonly engine?: TabEngine | undefined;
  /** Of WebAssembly. */
  readonly threads?: number | undefined;
  /**
   * Default 'fast': packed weights take a byte each, with a scale a row, which costs some accuracy (SmolLM2-135M's Q4_1: 0.05 nats a token
   * on a paragraph); as floats ('stable', 'exact') they take four, and a token as much longer.
   */
  readonly numerics?: Numerics | undefined;
  readonly contextLength?: number | undefined;
  /** LoRA adapters by the names that requests call them: URLs of folders of peft's. Each is loaded when it is first asked for. */
  readonly adapters?: Readonly<Record<string, string>> | undefined;
  /** Sent with requests for the model's files, such as a server's API key. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Bytes of the state cache. */
  readonly cacheBytes?: number | undefined;
}

/** What is asked of a model, but for what cannot be sent. */
export type SentOptions = Omit<TextOptions & ChatOptions, 'signal'>;

export type Question =
  | { readonly kind: 'load'; readonly url: string; readonly settings: TabLoadSettings }
  | { readonly kind: 'chat'; readonly messages: readonly ChatMessage[]; readonly options: SentOptions }
  | { readonly kind: 'form'; readonly messages: readonly ChatMessage[]; readonly options: ChatOptions }
  | { readonly kind: 'generate'; readonly text: string; readonly options: SentOptions }
  /** Of OpenAI's protocol: `path` with its query. */
  | {
      readonly kind: 'request';
      readonly method: string;
      readonly path: string;
      readonly type: string | null;
      readonly body: string | null;
    }
  | { readonly kind: 'status' }
  /** `id` is the text's that is to end. */
  | { readonly kind: 'cancel' };

export interface TabProgress {
  /** The files come over the network, or the weights are laid out for the engine. */
  readonly stage: 'download' | 'weights';
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface TabInfo {
  readonly name: string;
  /** Library, threads and, where there is only one, why. */
  readonly engine: string;
  readonly contextLength: number;
  readonly chats: boolean;
}

export interface TabStatus {
  /** Texts under way, and waiting. */
  readonly running: number;
  readonly waiting: number;
  readonly cache: CacheStatistics;
  /** Of weights and states, and of the engine's memory in all: it grows and never shrinks. */
  readonly bufferBytes: number;
  readonly heapBytes: number;
}

export type Answer =
  | ({ readonly kind: 'progress' } & TabProgress)
  | { readonly kind: 'loaded'; readonly info: TabInfo }
  | { readonly kind: 'form'; readonly form: ReplyForm }
  | { readonly kind: 'piece'; readonly text: string }
  /** The head of an answer, then its bytes, then its end. */
  | { readonly kind: 'head'; readonly status: number; readonly headers: [string, string][] }
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'over' }
  | { readonly kind: 'end'; readonly finishReason: FinishReason; readonly details: Details }
  | { readonly kind: 'status'; readonly status: TabStatus }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };

export type Numbered<T> = T & { readonly id: number };

/** One end of the line: a worker as its page sees it, the global scope within, or a MessagePort. */
export interface Line {
  postMessage(message: unknown, options: StructuredSerializeOptions): void;
  addEventListener(type: 'message', listener: (event: MessageEvent) => void): void;
}
