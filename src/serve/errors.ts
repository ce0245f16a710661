// Errors as OpenAI's clients know them: a status, and {error: {message, type, param, code}}.
import { LfmError } from '../tensor/error.ts';

export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

interface Refusal {
  readonly status: number;
  /** The request's parameter that is at fault. */
  readonly param?: string | undefined;
  /** Seconds after which to ask again. */
  readonly retryAfter?: number | undefined;
}

/** A request that is answered with an error. */
export class RequestError extends LfmError {
  readonly refusal: Refusal;

  constructor(code: string, message: string, refusal: Refusal) {
    super(code, message);
    this.name = 'RequestError';
    this.refusal = refusal;
  }
}

/** What the library says of a request, as a status. Whatever is not named here is the server's own fault. */
const statuses: Readonly<Record<string, number>> = {
  'bad-grammar': 400,
  'bad-limit': 400,
  'bad-messages': 400,
  'bad-regex': 400,
  'bad-sampling': 400,
  'bad-schema': 400,
  'bad-token': 400,
  'bad-tools': 400,
  'chat-template-failed': 400,
  'context-full': 400,
  'empty-prompt': 400,
  'no-chat-template': 400,
  'no-token': 400,
  'queue-full': 429,
  'model-closed': 503,
};

/** Where OpenAI has a code of its own for the same thing. */
const openaiCodes: Readonly<Record<string, string>> = {
  'context-full': 'context_length_exceeded',
  'queue-full': 'rate_limit_exceeded',
};

export interface ErrorAnswer {
  readonly status: number;
  readonly body: ErrorBody;
  readonly retryAfter: number | undefined;
}

/** Anything thrown, as an answer. What went wrong inside the server is not told to those outside. */
export function answerTo(error: unknown): ErrorAnswer {
  const refusal = error instanceof RequestError ? error.refusal : undefined;
  const known = error instanceof LfmError ? (refusal?.status ?? statuses[error.code]) : undefined;
  const status = known ?? 500;
  const message = error instanceof LfmError && known ? error.message : 'The server failed; its own output tells why.';
  const code = error instanceof LfmError && known ? (openaiCodes[error.code] ?? error.code.replaceAll('-', '_')) : null;
  return {
    status,
    body: { error: { message, type: typeOf(status), param: refusal?.param ?? null, code } },
    retryAfter: refusal?.retryAfter ?? (status === 429 ? 1 : undefined),
  };
}

/** What the log calls an error. */
export function codeOf(error: unknown): string {
  return answerTo(error).body.error.code ?? 'server_error';
}

function typeOf(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 404) return 'not_found_error';
  if (status === 429) return 'rate_limit_error';
  return status < 500 ? 'invalid_request_error' : 'server_error';
}
