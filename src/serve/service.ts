// What all endpoints share, and how a request gets a model: a place in the queue, a time limit, and an end when its client leaves.
import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import type { LanguageModel } from '../generate/model.ts';
import { answerTo, RequestError } from './errors.ts';
import type { Gate } from './gate.ts';
import type { Limits } from './limits.ts';
import type { ModelPool } from './models.ts';
import type { RequestRecord } from './record.ts';

export interface Service {
  readonly pool: ModelPool;
  readonly gate: Gate;
  readonly limits: Limits;
  /** Aborted where requests under way must end now. */
  readonly signal: AbortSignal;
  /** Hears of failures that are the server's own. */
  readonly onFailure: (error: unknown, id: string) => void;
}

export interface Env {
  /** Node's request and answer; a worker has none. */
  Bindings: Partial<HttpBindings>;
  Variables: {
    record: RequestRecord;
    /** Who may share cached states: one API key's requests. */
    tenant: string;
  };
}

/** A request that computes. `end` it, whatever happens: that cancels what still runs, and frees its place. */
export interface Work {
  readonly model: LanguageModel;
  /** Under which it runs, where the request asks for one. */
  readonly adapter: string | undefined;
  readonly signal: AbortSignal;
  readonly record: RequestRecord;
  readonly end: () => void;
}

/** Errors: `model-not-found`, `queue-full`, `shutting-down`, those of loading the model. */
export async function begin(
  c: Context<Env>,
  { pool, gate, limits, signal: serverSignal }: Service,
  name: string | undefined,
  texts: number,
): Promise<Work> {
  const { record } = c.var;
  record.model = pool.resolve(name);
  if (texts > limits.texts) {
    throw new RequestError('too-many-texts', `Prompts times n: expected at most ${limits.texts}; found ${texts}.`, {
      status: 400,
      param: 'n',
    });
  }
  const leaveGate = gate.enter(texts);
  const leaveModel = pool.enter(record.model);
  const controller = new AbortController();
  const late = new RequestError('timeout', `The request took longer than ${limits.requestSeconds} s.`, { status: 504 });
  const timer = setTimeout(() => controller.abort(late), limits.requestSeconds * 1000 - record.ms);
  const onLeave = () => controller.abort(new RequestError('client-closed', 'The client has left.', { status: 499 }));
  const onShutdown = () => controller.abort(serverSignal.reason);
  const client = c.req.raw.signal;
  client.addEventListener('abort', onLeave);
  serverSignal.addEventListener('abort', onShutdown);
  let hasEnded = false;
  const end = () => {
    clearTimeout(timer);
    client.removeEventListener('abort', onLeave);
    serverSignal.removeEventListener('abort', onShutdown);
    controller.abort(new RequestError('client-closed', 'The request has ended.', { status: 499 }));
    if (!hasEnded) leaveModel();
    hasEnded = true;
    leaveGate();
  };
  try {
    if (client.aborted) onLeave();
    if (serverSignal.aborted) onShutdown();
    const adapter = pool.isAdapter(name) ? record.model : undefined;
    return { model: await pool.get(name), adapter, signal: controller.signal, record, end };
  } catch (error) {
    end();
    throw error;
  }
}

/** The body as JSON. Errors: `not-json` (415 where it does not even say so). */
export async function readJson(c: Context<Env>): Promise<unknown> {
  const type = c.req.header('content-type') ?? '';
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    throw new RequestError('not-json', 'Expected the header Content-Type: application/json.', { status: 415 });
  }
  try {
    const json: unknown = JSON.parse(await c.req.text());
    return json;
  } catch (cause) {
    if (cause instanceof SyntaxError) throw new RequestError('not-json', 'The body: expected JSON.', { status: 400 });
    if (c.req.raw.signal.aborted || isCut(cause))
      throw new RequestError('client-closed', 'The client left before its body was whole.', { status: 499 });
    throw cause;
  }
}

/** Node's word for a connection that ended in the middle of a body. */
function isCut(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ECONNRESET';
}

/** Writes an error down, and puts it as the protocol has it. */
export function report({ onFailure }: Service, record: RequestRecord, error: unknown) {
  const answer = answerTo(error);
  if (answer.status === 500) onFailure(error, record.id);
  return answer;
}
