// Whole documents laid into rows of equal length: each goes to the fullest of the open rows that has room for it.
import { BEGINS, COUNTS } from './marks.ts';

/** A document's tokens, and which of them count as labels. */
export interface MarkedDocument {
  readonly ids: ArrayLike<number>;
  /** As long as `ids`; 0 for those that do not count. */
  readonly counts: ArrayLike<number>;
  /** Of the text behind it. */
  readonly bytes: number;
}

/** A row as it is written: `length` tokens and their marks. */
export interface Row {
  readonly ids: Int32Array;
  readonly marks: Int32Array;
  /** Of the text in it. */
  bytes: number;
  used: number;
  documents: number;
}

/** Rows that may be open: enough for a good fit, few enough to hold. */
const MOST_OPEN = 64;

export class RowPacker {
  readonly #length: number;
  readonly #filler: number;
  readonly #open: Row[] = [];

  /** `filler` stands behind the last document of a row, and counts nowhere. */
  constructor(length: number, filler: number) {
    this.#length = length;
    this.#filler = filler;
  }

  /** Adds a document of at most `length` tokens; a row that had to be closed for it comes back. */
  add({ ids, counts, bytes }: MarkedDocument): Row | undefined {
    let best: Row | undefined;
    for (const row of this.#open)
      if (row.used + ids.length <= this.#length && (!best || row.used > best.used)) best = row;
    let closed: Row | undefined;
    if (!best) {
      if (this.#open.length === MOST_OPEN) closed = this.#close();
      best = this.#begin();
    }
    for (let at = 0; at < ids.length; at++) {
      best.ids[best.used + at] = ids[at] ?? 0;
      // What a document begins with is not predicted from the one before it.
      best.marks[best.used + at] = at === 0 ? BEGINS : counts[at] ? COUNTS : 0;
    }
    best.used += ids.length;
    best.bytes += bytes;
    best.documents++;
    return closed;
  }

  /** The rows that are open. */
  *finish(): Iterable<Row> {
    yield* this.#open.splice(0);
  }

  #begin(): Row {
    const row: Row = {
      ids: new Int32Array(this.#length).fill(this.#filler),
      marks: new Int32Array(this.#length).fill(BEGINS),
      bytes: 0,
      used: 0,
      documents: 0,
    };
    this.#open.push(row);
    return row;
  }

  /** Takes the fullest. */
  #close(): Row | undefined {
    const most = Math.max(...this.#open.map(({ used }) => used));
    return this.#open.splice(
      this.#open.findIndex(({ used }) => used === most),
      1,
    )[0];
  }
}
