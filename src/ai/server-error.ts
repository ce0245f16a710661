// A refusal of a server, which the AI SDK takes for its own APICallError: what may pass, it asks again.
import * as z from 'zod';
import { LfmError } from '../tensor/error.ts';

/** What `APICallError.isInstance` looks for. The package itself is needed for its types only. */
const sdkError = Symbol.for('vercel.ai.error');
const apiCallError = Symbol.for('vercel.ai.error.AI_APICallError');

const body = z.object({ error: z.object({ message: z.string(), code: z.string().nullish() }) });

interface Request {
  readonly url: string;
  readonly body: unknown;
  readonly cause?: unknown;
}

export class ServerError extends LfmError {
  readonly [sdkError] = true;
  readonly [apiCallError] = true;
  readonly url: string;
  readonly requestBodyValues: unknown;
  readonly statusCode?: number;
  readonly responseHeaders?: Record<string, string>;
  readonly responseBody?: string;
  readonly isRetryable: boolean;

  /** Without a response: nobody answered. */
  constructor(code: string, message: string, request: Request, response?: Response, text?: string) {
    super(code, message, { cause: request.cause });
    this.name = 'AI_APICallError';
    this.url = request.url;
    this.requestBodyValues = request.body;
    if (response) {
      this.statusCode = response.status;
      this.responseHeaders = Object.fromEntries(response.headers);
    }
    if (text !== undefined) this.responseBody = text;
    this.isRetryable = !response || [408, 409, 429].includes(response.status) || response.status >= 500;
  }

  /** With the server's own words and code, where it has any. */
  static of(url: string, given: unknown, response: Response, text: string): ServerError {
    let code: string | undefined;
    let message = `${url} answered ${response.status}: ${text.slice(0, 500)}`;
    try {
      const { error } = body.parse(JSON.parse(text));
      code = error.code?.replaceAll('_', '-');
      message = error.message;
    } catch {
      // Not the protocol's form: the status and the text say what there is to say.
    }
    return new ServerError(code ?? `http-${response.status}`, message, { url, body: given }, response, text);
  }
}
