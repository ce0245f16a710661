// Loss on text that was never trained on: nats a token, and bits a byte, which vocabularies of any size share.
// Shapes: B rows, T tokens a row.
import type { Buffers, Engine } from '../engines/engine.ts';
import type { TokenReader } from '../data/packed.ts';
import { heldOutBatches } from '../data/held-out.ts';
import { BEGINS, COUNTS, marksOfText, segmentsOf } from '../data/marks.ts';
import type { Model } from '../liquid/index.ts';
import { lossProgram } from '../liquid/index.ts';
import { shardingsFor } from './sharding.ts';
import { splitRows } from './trainer.ts';

export interface HeldOutResult {
  /** Tokens that were predicted, end-of-text tokens among them. */
  readonly tokens: number;
  /** Bytes of UTF-8 text behind them. */
  readonly bytes: number;
  readonly natsPerToken: number;
  /** (sum of -ln p) / (ln 2 * bytes): the cost of end-of-text tokens counts, they stand for no byte. */
  readonly bitsPerByte: number;
}

export interface HeldOutMeasure {
  /**
   * Measures at most about `maxTokens` tokens, spread evenly over the text; all of them where it is absent. `marks` are the
   * tokens', where they are not a text's.
   */
  measure(parameters: Buffers, reader: TokenReader, maxTokens?: number, marks?: TokenReader): Promise<HeldOutResult>;
  dispose(): void;
}

export interface HeldOutOptions {
  readonly engine: Engine;
  readonly model: Model;
  readonly batch: { readonly size: number; readonly length: number };
  readonly endOfText: number;
  /** Bytes of text that each token id stands for; 0 for special tokens. */
  readonly bytesOf: ArrayLike<number>;
  /** Element type of the parameters. Default: float32. */
  readonly stored?: 'float32' | 'bfloat16';
  /** Documents of one row do not see each other. */
  readonly segments?: boolean;
}

/** How many results may be under way before the next batch is issued. */
const IN_FLIGHT = 2;

/** Compiles the loss without gradients, in float32 whatever the training's element type. */
export async function createHeldOutMeasure({
  engine,
  model,
  batch,
  endOfText,
  bytesOf,
  stored = 'float32',
  segments = false,
}: HeldOutOptions): Promise<HeldOutMeasure> {
  const { size, length } = batch;
  const shardings = shardingsFor(engine, model, batch);
  const executable = await engine.compile(lossProgram(model, { batch: size, length, stored, segments }), { shardings });

  async function natsOf(
    parameters: Buffers,
    tokens_BT: Int32Array,
    counts_B: Int32Array,
    marks_BT: Int32Array,
  ): Promise<{ nats: Promise<number>; labels: Int32Array; weights: Float32Array }> {
    const { inputs, labels } = splitRows(tokens_BT, length);
    const { inputs: own, labels: ahead } = splitRows(marks_BT, length);
    const weights = Float32Array.from(ahead, (mark, at) =>
      at % length < (counts_B[Math.floor(at / length)] ?? 0) ? mark & COUNTS : 0,
    );
    const given = {
      tokens: await engine.upload('int32', [size, length], inputs, shardings['tokens']),
      labels: await engine.upload('int32', [size, length], labels, shardings['labels']),
      weights: await engine.upload('float32', [size, length], weights, shardings['weights']),
      ...(segments && {
        segments: await engine.upload('int32', [size, length], segmentsOf(own, length), shardings['segments']),
      }),
    };
    const { loss } = await executable.run({ ...parameters, ...given });
    for (const buffer of Object.values(given)) buffer.dispose();
    const collect = async (): Promise<number> => {
      if (!loss) return Number.NaN;
      const [value] = await engine.download(loss);
      loss.dispose();
      return Number(value);
    };
    return { nats: collect(), labels, weights };
  }

  /** Of the tokens' batch: the next of those that walk beside it, or a text's. */
  async function marksOf(
    tokens_BT: Int32Array,
    marked: ReturnType<typeof heldOutBatches> | undefined,
  ): Promise<Int32Array> {
    const next = await marked?.next();
    if (next && !next.done) return next.value.tokens_BT;
    const found = new Int32Array(tokens_BT.length);
    marksOfText(tokens_BT, endOfText, found);
    return found;
  }

  return {
    async measure(parameters, reader, maxTokens = Infinity, marks) {
      const batches = Math.ceil(reader.length / (size * length));
      const wanted = Math.max(1, Math.min(batches, Math.ceil(maxTokens / (size * length))));
      const total = { nats: 0, tokens: 0, bytes: 0 };
      const pending: Promise<number>[] = [];
      let index = 0;
      const marked = marks && heldOutBatches(marks, { batchSize: size, length, endOfText: BEGINS });
      for await (const { tokens_BT, counts_B } of heldOutBatches(reader, { batchSize: size, length, endOfText })) {
        const marks_BT = await marksOf(tokens_BT, marked);
        const at = index++;
        if (Math.ceil(((at + 1) * wanted) / batches) === Math.ceil((at * wanted) / batches)) continue;
        const { nats, labels, weights } = await natsOf(parameters, tokens_BT, counts_B, marks_BT);
        nats.catch(() => {}); // it is awaited below, perhaps after another one failed
        pending.push(nats);
        weights.forEach((counts, position) => {
          total.tokens += counts;
          total.bytes += counts * (bytesOf[labels[position] ?? 0] ?? 0);
        });
        if (pending.length > IN_FLIGHT) total.nats += (await pending.shift()) ?? 0;
      }
      for (const nats of pending) total.nats += await nats;
      const { nats, tokens, bytes } = total;
      return { tokens, bytes, natsPerToken: nats / tokens, bitsPerByte: nats / Math.LN2 / bytes };
    },
    dispose: () => executable.release(),
  };
}

/** Several results as one: of all their tokens and bytes. */
export function combineHeldOut(results: readonly HeldOutResult[]): HeldOutResult {
  const sum = (value: (result: HeldOutResult) => number): number =>
    results.reduce((total, result) => total + value(result), 0);
  const [tokens, bytes] = [sum((result) => result.tokens), sum((result) => result.bytes)];
  const nats = sum((result) => result.natsPerToken * result.tokens);
  return { tokens, bytes, natsPerToken: nats / tokens, bitsPerByte: nats / Math.LN2 / bytes };
}
