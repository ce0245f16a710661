// What a model's name means in a browser: the URL of its folder. All of model.safetensors is fetched at once.
import { host } from '#host';
import { bfloat16ToFloat32, float16ToFloat32 } from '../files/floats.ts';
import { parseJsonObject } from '../files/json.ts';
import { parseHeader, readHeaderLength } from '../files/safetensors.ts';
import { LfmError } from '../tensor/error.ts';
import { packedWeights } from './source-packed.ts';
import type { AdapterSource, ModelSource } from './source.ts';

/** Errors: `model-file-missing`, `file-unreadable`, `json-file-…`, `safetensors-…`. */
export async function openSource(url: string): Promise<ModelSource> {
  const base = url.replace(/\/+$/, '');
  const json = async (file: string) => {
    const text = await readText(`${base}/${file}`);
    return text === undefined ? undefined : parseJsonObject(text, file, 'json-file');
  };
  const config = await json('config.json');
  const bytes = await readIfPresent(`${base}/model.safetensors`);
  const missing = !config ? 'config.json' : 'model.safetensors';
  if (!config || !bytes)
    throw new LfmError('model-file-missing', `Expected ${missing} at ${base}: give the URL of a model's folder.`);
  const name = base.slice(base.lastIndexOf('/') + 1);
  return {
    name,
    config,
    generationConfig: await json('generation_config.json'),
    tokenizer: await json('tokenizer.json'),
    tokenizerConfig: await json('tokenizer_config.json'),
    chatTemplate: await readText(`${base}/chat_template.jinja`),
    weights: packedWeights(tensorsIn(bytes, 'model.safetensors'), config, name),
  };
}

/** Opens a peft folder by its URL. Errors: `adapter-missing`, `json-file-…`, `safetensors-…`. */
export async function openAdapter(url: string): Promise<AdapterSource> {
  const base = url.replace(/\/+$/, '');
  const text = await readText(`${base}/adapter_config.json`);
  const bytes = await readIfPresent(`${base}/adapter_model.safetensors`);
  if (text === undefined || !bytes)
    throw new LfmError(
      'adapter-missing',
      `Expected adapter_config.json and adapter_model.safetensors at ${base}, as peft saves an adapter.`,
    );
  return {
    config: parseJsonObject(text, 'adapter_config.json', 'json-file'),
    ...tensorsIn(bytes, 'adapter_model.safetensors'),
  };
}

async function readIfPresent(url: string): Promise<Uint8Array | undefined> {
  try {
    return await host.readBytes(url);
  } catch (error) {
    if (error instanceof LfmError && error.code === 'file-not-found') return undefined;
    throw error;
  }
}

async function readText(url: string): Promise<string | undefined> {
  const bytes = await readIfPresent(url);
  return bytes && new TextDecoder('utf-8', { fatal: true }).decode(bytes);
}

function tensorsIn(file: Uint8Array, what: string) {
  const end = 8 + readHeaderLength(file, file.byteLength, what);
  const { tensors } = parseHeader(file.subarray(8, end), file.byteLength, what);
  const find = (name: string) => {
    const info = tensors.get(name);
    if (info) return info;
    throw new LfmError('tensor-missing', `${what} has no tensor ${name}.`);
  };
  const read = async (name: string) => {
    const { byteOffset, byteLength } = find(name);
    // A copy: what follows the header need not be aligned.
    return new Uint8Array(file.subarray(byteOffset, byteOffset + byteLength));
  };
  const readFloat32 = async (name: string) => {
    const { dtype } = find(name);
    const { buffer } = await read(name);
    if (dtype === 'float32') return new Float32Array(buffer);
    if (dtype === 'float16') return float16ToFloat32(new Uint16Array(buffer));
    if (dtype === 'bfloat16') return bfloat16ToFloat32(new Uint16Array(buffer));
    throw new LfmError(
      'tensor-not-float',
      `${what}: the tensor ${name} is ${dtype}; expected float32, float16 or bfloat16.`,
    );
  };
  return { tensors, read, readFloat32, close: async () => {} };
}

/** Errors: `no-files`, always. */
export async function saveBytes(path: string): Promise<void> {
  throw new LfmError('no-files', `${path}: a browser has no files to write; keep what toBytes() gives where you like.`);
}
