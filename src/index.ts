// The entry point `.`: load a model and use it, the same in Node and in a browser.
export { load } from './generate/load.ts';
export type { LoadOptions, LoadProgress, Numerics } from './generate/load.ts';
export type { ChatMessage, ChatOptions } from './generate/chat.ts';
export type { Conversation, ConversationOptions } from './generate/conversation.ts';
export type { FinishReason, TokenStream } from './generate/stream.ts';
export type { LanguageModel, TextOptions } from './generate/model.ts';
export type { Completion, Details, Reply, Usage } from './generate/reply.ts';
export type { CacheStatistics } from './generate/prefix-cache.ts';
export type { GenerateOptions, RequestOptions, Scheduler, SchedulerOptions } from './generate/scheduler.ts';
export type { Choice, SamplingOptions } from './generate/sampler.ts';
export { parseToolCalls, ReplyParts } from './generate/reply-parts.ts';
export type { ParsedReply, ReplyPart, ReplyPartsOptions } from './generate/reply-parts.ts';
export { renderToolCalls, renderTools } from './generate/tool-calls.ts';
export type { Tool, ToolCall, ToolCallStyle } from './generate/tool-calls.ts';
export type { Engine } from './engines/engine.ts';
export { defineModel } from './liquid/index.ts';
export type { Model, ModelOptions } from './liquid/index.ts';
export { LfmError } from './tensor/error.ts';
