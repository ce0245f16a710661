// The entry point `lfm/serve`: models over HTTP, in the protocol that OpenAI's clients speak. Node only.
export { serve } from './server.node.ts';
export type { RunningServer, ServeOptions } from './server.node.ts';
export type { Asset } from './app.ts';
export type { Limits } from './limits.ts';
export type { ServedModel } from './models.ts';
export type { LogEntry } from './record.ts';
