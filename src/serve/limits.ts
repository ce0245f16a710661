// How much one request, and all of them together, may take.

export interface Limits {
  /** Bytes of a request's body. */
  readonly bodyBytes: number;
  /** Texts that one request may ask for: prompts times n. */
  readonly texts: number;
  /** Texts that run or wait over all requests; one more is refused with 429. */
  readonly pending: number;
  /** Seconds that a request may take from its arrival to its last token. */
  readonly requestSeconds: number;
  /** Seconds that a client may take to send its headers, and then its body. */
  readonly receiveSeconds: number;
  /** Seconds that a client may leave streamed text unread. */
  readonly stallSeconds: number;
  /** Connections open at once. */
  readonly connections: number;
}

export const defaultLimits: Limits = {
  bodyBytes: 4 * 2 ** 20,
  texts: 128,
  pending: 256,
  requestSeconds: 600,
  receiveSeconds: 30,
  stallSeconds: 60,
  connections: 512,
};
