// Where answers come from, as the page sees it: this machine's server, or a model in the tab. One interface, so that nothing
// else of the page knows which.
import type { ModelReport } from '../src/serve/inspect.ts';

export interface ModelInfo {
  readonly id: string;
  readonly loaded: boolean;
  /** Of an adapter: the model that it changes. */
  readonly parent?: string | null | undefined;
  /** Known once it is loaded: whether it has a chat template, the tokens it was made for, what it runs on. */
  readonly chats?: boolean | undefined;
  readonly contextLength?: number | undefined;
  readonly engine?: string | undefined;
}

export interface ToolCall {
  readonly id: string;
  readonly name: string;
  /** JSON text, as the model wrote it. */
  readonly arguments: string;
}

export interface Turn {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  readonly content: string;
  readonly reasoning?: string;
  readonly toolCalls?: readonly ToolCall[];
  /** Of a tool's turn: the call that it answers. */
  readonly toolCallId?: string;
}

/** A token that was chosen, the natural logarithm of its probability, and the likeliest tokens in its place. */
export interface Chance {
  readonly text: string;
  readonly logprob: number;
  readonly others: readonly { readonly text: string; readonly logprob: number }[];
}

export interface Sampling {
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  readonly seed?: number;
}

export interface Asked {
  readonly model: string;
  /** `continue`: the turns' texts, one after another, are a text that goes on. */
  readonly mode: 'chat' | 'continue';
  readonly turns: readonly Turn[];
  readonly sampling: Sampling;
  readonly probabilities: boolean;
  /** A JSON Schema that the answer must match. */
  readonly schema?: unknown;
  /** Functions that the model may call, as OpenAI's `tools` has them. */
  readonly tools?: unknown;
}

export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly cachedTokens: number;
  readonly tokensPerSecond: number;
}

/** What is new of an answer. */
export interface Piece {
  readonly text?: string;
  readonly reasoning?: string;
  readonly chances?: readonly Chance[];
  /** The beginning, or more, of the call with this index. */
  readonly toolCalls?: readonly {
    readonly index: number;
    readonly id?: string;
    readonly name?: string;
    readonly arguments?: string;
  }[];
  readonly finish?: string;
  readonly usage?: Usage;
}

export interface ChatSource {
  /** Errors: of any call, an Error whose message is fit to be shown. */
  models(): Promise<readonly ModelInfo[]>;
  /** Ends early, with the signal's reason as its error, where the signal says so. */
  answer(asked: Asked, signal: AbortSignal): AsyncIterable<Piece>;
  inspect(model: string): Promise<ModelReport>;
}
