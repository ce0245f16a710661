// Our own stored form of packed weights: for a matrix NAME the tensors NAME.packed (uint8 [N, G, block * bits / 8]), NAME.scales and,
// where affine, NAME.minimums (float16 [N, G]), and in config.json a `quantization_config` with method, version, bits and block.
import * as z from 'zod';
import type { QuantizedMatrix } from '../files/quantized.ts';
import { dequantizeMatrix, requireFinite } from '../files/quantized.ts';
import type { QuantizedForm } from '../tensor/index.ts';
import { LfmError } from '../tensor/index.ts';
import type { StoredTensor, StoredWeights } from './source.ts';

/** What says of a model folder that it is packed. */
export const packedConfig = ({ bits, block }: Pick<QuantizedForm, 'bits' | 'block'>) => ({
  quant_method: 'lfm',
  format_version: 1,
  bits,
  block_size: block,
});

const schema = z.object({
  quantization_config: z
    .object({
      quant_method: z.literal('lfm'),
      format_version: z.literal(1),
      bits: z.literal([4, 8]),
      block_size: z.literal([32, 64, 128]),
    })
    .nullish(),
});

interface TensorReader {
  readonly tensors: ReadonlyMap<
    string,
    { readonly dtype: string; readonly shape: readonly number[]; readonly byteLength: number }
  >;
  read(name: string): Promise<Uint8Array>;
  readFloat32(name: string): Promise<Float32Array>;
  close(): Promise<void>;
}

/**
 * The tensors of a folder, packed ones under the names of what they stand for.
 * Errors: `quantization-unsupported` for a method or version of others; `quantized-parts` for a packed tensor whose scales or
 * minimums are missing, left over or of another size.
 */
export function packedWeights(reader: TensorReader, config: unknown, name: string): StoredWeights {
  const parsed = schema.safeParse(config);
  if (!parsed.success) {
    const found = JSON.stringify((config as { quantization_config?: unknown }).quantization_config ?? null);
    throw new LfmError(
      'quantization-unsupported',
      `${name}: config.json asks for a quantisation of ${found.slice(0, 200)}; known is ${JSON.stringify(packedConfig({ bits: 4, block: 32 }))}, with 4 or 8 bits in blocks of 32 or 128: take the model as floats, or make it with "lfm quantize".`,
    );
  }
  const settings = parsed.data.quantization_config;
  const tensors = new Map<string, StoredTensor>();
  for (const [key, info] of reader.tensors) {
    const [, matrix, part] = /^(.+)\.(packed|scales|minimums)$/.exec(key) ?? [];
    if (!settings || matrix === undefined) tensors.set(key, info);
    else if (part === 'packed') tensors.set(matrix, matrixOf(reader.tensors, matrix, settings, name));
    else if (!reader.tensors.has(`${matrix}.packed`))
      throw new LfmError('quantized-parts', `${name}: the tensor ${key} stands there without ${matrix}.packed.`);
  }
  const find = (key: string): QuantizedForm => {
    const form = tensors.get(key)?.quantized;
    if (form) return form;
    throw new LfmError('tensor-not-packed', `${name}: expected ${key} as a packed matrix; it is not stored as one.`);
  };
  const readQuantized = async (key: string): Promise<QuantizedMatrix> => {
    const { affine } = find(key);
    const matrix = {
      packed: await reader.read(`${key}.packed`),
      scales: await reader.readFloat32(`${key}.scales`),
      ...(affine && { minimums: await reader.readFloat32(`${key}.minimums`) }),
    };
    requireFinite(key, matrix);
    return matrix;
  };
  return {
    tensors,
    readQuantized,
    async readFloat32(key) {
      if (!tensors.get(key)?.quantized) return reader.readFloat32(key);
      return dequantizeMatrix(await readQuantized(key), find(key));
    },
    close: () => reader.close(),
  };
}

function matrixOf(
  stored: TensorReader['tensors'],
  key: string,
  { bits, block_size: block }: { bits: 4 | 8; block_size: number },
  name: string,
): StoredTensor {
  const [packed, scales, minimums] = ['packed', 'scales', 'minimums'].map((part) => stored.get(`${key}.${part}`));
  const bytes = (block * bits) / 8;
  const [rows = 0, blocks = 0, last] = packed?.shape ?? [];
  const isMatrix = packed?.dtype === 'uint8' && packed.shape.length === 3 && last === bytes;
  const perBlock = [scales, minimums].every(
    (part) => !part || (part.dtype === 'float16' && part.shape.join() === `${rows},${blocks}`),
  );
  if (!isMatrix || !scales || !perBlock) {
    const shown = (part: typeof packed) => (part ? `${part.dtype}[${part.shape.join(', ')}]` : 'none');
    throw new LfmError(
      'quantized-parts',
      `${name}: with ${bits} bits in blocks of ${block}, ${key} takes a uint8 tensor ${key}.packed of [N, G, ${bytes}] with float16 scales (and minimums) of [N, G]; found ${shown(packed)} with scales ${shown(scales)} and minimums ${shown(minimums)}.`,
    );
  }
  return {
    shape: [rows, blocks * block],
    byteLength: [packed, scales, minimums].reduce((sum, part) => sum + (part?.byteLength ?? 0), 0),
    dtype: `int${bits}`,
    quantized: { bits, block, affine: minimums !== undefined },
  };
}
