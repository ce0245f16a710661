// For tests: a folder that `lfm convert --to onnx` wrote, in the stock JavaScript API of ONNX Runtime, and the generator beside it.
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { expect } from 'vitest';
import { load } from './load.ts';

/** Logits after each token of a row, by the generator of the folder `model`. */
export async function logitsOf(model: string, row: readonly number[]): Promise<number[][]> {
  await using loaded = await load(model, { engine: 'reference' });
  const state = await loaded.generator.open(row.length);
  const found: number[][] = [];
  for (const id of row) found.push([...((await loaded.generator.feed(state, [[id]]))[0] ?? [])]);
  loaded.generator.release(state);
  return found;
}

type Feeds = Record<string, Tensor>;

/** The state of a text without tokens, from the shapes that the session tells. */
function emptyPast(session: InferenceSession, batch: number): Feeds {
  const feeds: Feeds = {};
  for (const { name, ...info } of session.inputMetadata) {
    if (!name.startsWith('past.') || !('shape' in info)) continue;
    const dims = info.shape.map((dim) => (typeof dim === 'number' ? dim : dim === 'batch' ? batch : 0));
    feeds[name] = new Tensor('float32', new Float32Array(dims.reduce((product, dim) => product * dim, 1)), dims);
  }
  return feeds;
}

/** Runs rows of equal length in pieces; the logits of each row's tokens. */
export async function runPlain(
  path: string,
  texts: readonly (readonly number[])[],
  pieces: readonly number[],
): Promise<number[][][]> {
  const session = await InferenceSession.create(join(path, 'model.onnx'));
  const found = texts.map((): number[][] => []);
  let past = emptyPast(session, texts.length);
  const isCounted = session.inputNames.includes('past_length');
  let from = 0;
  for (const size of pieces) {
    const ids = texts.flatMap((row) => row.slice(from, from + size));
    if (isCounted) past = { ...past, past_length: new Tensor('int64', BigInt64Array.of(BigInt(from)), [1]) };
    from += size;
    const input = new Tensor('int64', BigInt64Array.from(ids, BigInt), [texts.length, size]);
    const { logits, ...present } = await session.run({ input_ids: input, ...past });
    past = Object.fromEntries(
      Object.entries(present).map(([name, value]) => [name.replace('present.', 'past.'), value as Tensor]),
    );
    const classes = logits?.dims[2] ?? 0;
    const values = [...((logits?.data ?? []) as Float32Array)];
    found.forEach((row, b) => {
      for (let t = 0; t < size; t++) row.push(values.slice((b * size + t) * classes, (b * size + t + 1) * classes));
    });
  }
  await session.release();
  return found;
}

/** The largest, of two rows' logits. */
export function difference(found: readonly (readonly number[])[], wanted: readonly (readonly number[])[]): number {
  expect(found.map(({ length }) => length)).toEqual(wanted.map(({ length }) => length));
  return Math.max(...wanted.flatMap((row, t) => row.map((value, i) => Math.abs(value - (found[t]?.[i] ?? NaN)))));
}
