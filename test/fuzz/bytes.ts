// Mutations of bytes, and of GGUF and safetensors files by their fields.
import { mutateJson } from './json.ts';
import type { Random } from './random.ts';

const edges: readonly [bigint, ...bigint[]] = [
  0n,
  1n,
  2n,
  7n,
  9n,
  31n,
  32n,
  33n,
  255n,
  65_536n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];

function join(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** One change that knows nothing of what the bytes mean. */
export function mutateBytes(file: Uint8Array, random: Random): Uint8Array {
  const [at, size] = [random.below(file.length + 1), 1 + random.below(64)];
  const out = file.slice();
  switch (random.below(5)) {
    case 0:
      return file.slice(0, at);
    case 1:
      return join(file, new Uint8Array(size).fill(random.below(256)));
    case 2:
      return join(file.subarray(0, at), file.subarray(at + size));
    case 3:
      return join(file.subarray(0, at), file.subarray(Math.max(0, at - size), at), file.subarray(at));
    default:
      for (let flips = 1 + random.below(8); flips > 0; flips--) out[random.below(out.length)] = random.below(256);
      return out;
  }
}

/** A safetensors file whose header's JSON, or its length, or the data after it, is changed. */
export function mutateSafetensors(file: Uint8Array, random: Random): Uint8Array {
  if (random.below(6) === 0) return mutateBytes(file, random);
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = new TextEncoder().encode(mutateJson(new TextDecoder().decode(file.subarray(8, 8 + length)), random));
  const start = new Uint8Array(8);
  const isLying = random.below(10) === 0;
  new DataView(start.buffer).setBigUint64(0, isLying ? random.pick(edges) : BigInt(header.length), true);
  const data = file.subarray(8 + length);
  return join(start, header, random.below(8) === 0 ? mutateBytes(data, random) : data);
}

interface Field {
  readonly at: number;
  readonly bytes: 4 | 8;
}

/** Where a GGUF file's whole numbers stand, and where its metadata pairs and tensor entries begin and end. */
export interface GgufMap {
  readonly fields: readonly Field[];
  /** Those that say something of the model: single values of the metadata, elements of its short lists. */
  readonly values: readonly Field[];
  readonly entries: readonly (readonly [from: number, to: number])[];
}

const widths: Readonly<Record<number, number>> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
};

/** Walks a file that is sound. */
export function mapGguf(file: Uint8Array): GgufMap {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const fields: Field[] = [];
  const values: Field[] = [];
  const entries: [number, number][] = [];
  let at = 4;
  const take = (bytes: 4 | 8): number => {
    fields.push({ at, bytes });
    at += bytes;
    return bytes === 4 ? view.getUint32(at - 4, true) : Number(view.getBigUint64(at - 8, true));
  };
  // Of the thousands of strings of a vocabulary the first few stand for all.
  const string = (isListed: boolean) => {
    const length = isListed ? take(8) : 8 + Number(view.getBigUint64(at, true));
    at += length;
  };
  take(4);
  const [tensors, pairs] = [take(8), take(8)];
  for (let i = 0; i < pairs; i++) {
    const from = at;
    string(true);
    const type = take(4);
    if (type === 8) string(true);
    else if (type === 9) {
      const [of, count] = [take(4), take(8)];
      if (of === 8) for (let k = 0; k < count; k++) string(k < 4);
      else {
        for (let k = 0; widths[of] === 4 && k < Math.min(count, 64); k++) values.push({ at: at + 4 * k, bytes: 4 });
        at += count * (widths[of] ?? 0);
      }
    } else if (type === 4 || type === 5 || type === 6) {
      values.push({ at, bytes: 4 });
      at += 4;
    } else at += widths[type] ?? 0;
    entries.push([from, at]);
  }
  for (let i = 0; i < tensors; i++) {
    const from = at;
    string(true);
    for (let dims = take(4); dims > 0; dims--) take(8);
    take(4);
    take(8);
    entries.push([from, at]);
  }
  return { fields, values, entries };
}

/** A GGUF file with one to three numbers of its header at an edge, or entries doubled, taken out or exchanged. */
export function mutateGguf(file: Uint8Array, { fields, values, entries }: GgufMap, random: Random): Uint8Array {
  if (random.below(6) === 0) return mutateBytes(file, random);
  const out = file.slice();
  const view = new DataView(out.buffer);
  if (random.below(3) > 0) {
    const among = random.below(2) === 0 ? fields : values;
    for (let changes = 1 + random.below(3); changes > 0; changes--) {
      const field = among[random.below(among.length)];
      if (!field) continue;
      const { at, bytes } = field;
      const old = bytes === 4 ? BigInt(view.getUint32(at, true)) : view.getBigUint64(at, true);
      const value = random.pick([random.pick(edges), old + 1n, old - 1n, old * 2n, BigInt(random.below(64))]);
      if (bytes === 4) view.setUint32(at, Number(BigInt.asUintN(32, value)), true);
      else view.setBigUint64(at, BigInt.asUintN(64, value), true);
    }
    return out;
  }
  const [[from, to] = [0, 0], [otherFrom, otherTo] = [0, 0]] = [0, 1].map(() => entries[random.below(entries.length)]);
  switch (random.below(4)) {
    case 0:
      return join(out.subarray(0, from), out.subarray(to));
    case 1:
      return join(out.subarray(0, to), out.subarray(from));
    case 2:
      return join(out.subarray(0, from), out.subarray(otherFrom, otherTo), out.subarray(to));
    default: // a name or value changed in place
      for (let flips = 1 + random.below(4); flips > 0; flips--) out[from + random.below(to - from)] = random.below(256);
      return out;
  }
}
