// What a model's name means in a browser: the URL of its folder or of a GGUF file.
import { host } from '#host';
import { openUrl } from '../files/download.ts';
import { bfloat16ToFloat32, float16ToFloat32 } from '../files/floats.ts';
import type { ByteSource } from '../files/gguf-read.ts';
import { readGguf } from '../files/gguf-read.ts';
import { parseJsonObject } from '../files/json.ts';
import { parseHeader, readHeaderLength } from '../files/safetensors.ts';
import { LfmError } from '../tensor/error.ts';
import { openGgufSource } from './source-gguf.ts';
import { packedWeights } from './source-packed.ts';
import type { AdapterSource, FetchOptions, ModelSource } from './source.ts';

/** Errors: `model-file-missing`, `file-unreadable`, `file-cut-short`, `json-file-…`, `safetensors-…`, `gguf-…`. */
export async function openSource(url: string, fetching: FetchOptions = {}): Promise<ModelSource> {
  const base = url.replace(/\/+$/, '');
  const name = decodeURIComponent(base.slice(base.lastIndexOf('/') + 1));
  if (/\.gguf$/i.test(name)) {
    const file = await openUrl(base, fetching);
    if (!file) throw new LfmError('model-file-missing', `There is no file at ${base}.`);
    return openGgufSource(name.replace(/\.gguf$/i, ''), await readGguf(file, name));
  }
  const json = async (file: string) => {
    const text = await readText(`${base}/${file}`, fetching.headers);
    return text === undefined ? undefined : parseJsonObject(text, file, 'json-file');
  };
  const config = await json('config.json');
  const file = await openUrl(`${base}/model.safetensors`, fetching);
  const missing = !config ? 'config.json' : 'model.safetensors';
  if (!config || !file)
    throw new LfmError('model-file-missing', `Expected ${missing} at ${base}: give the URL of a model's folder.`);
  return {
    name,
    config,
    generationConfig: await json('generation_config.json'),
    tokenizer: await json('tokenizer.json'),
    tokenizerConfig: await json('tokenizer_config.json'),
    chatTemplate: await readText(`${base}/chat_template.jinja`, fetching.headers),
    weights: packedWeights(await tensorsIn(file, 'model.safetensors'), config, name),
  };
}

/** Opens a peft folder by its URL. Errors: `adapter-missing`, `json-file-…`, `safetensors-…`. */
export async function openAdapter(url: string, { headers }: FetchOptions = {}): Promise<AdapterSource> {
  const base = url.replace(/\/+$/, '');
  const text = await readText(`${base}/adapter_config.json`, headers);
  const file = await openUrl(`${base}/adapter_model.safetensors`, { headers });
  if (text === undefined || !file)
    throw new LfmError(
      'adapter-missing',
      `Expected adapter_config.json and adapter_model.safetensors at ${base}, as peft saves an adapter.`,
    );
  return {
    config: parseJsonObject(text, 'adapter_config.json', 'json-file'),
    ...(await tensorsIn(file, 'adapter_model.safetensors')),
  };
}

async function readIfPresent(url: string, headers: FetchOptions['headers']): Promise<Uint8Array | undefined> {
  try {
    return await host.readBytes(url, headers);
  } catch (error) {
    if (error instanceof LfmError && error.code === 'file-not-found') return undefined;
    throw error;
  }
}

async function readText(url: string, headers?: FetchOptions['headers']): Promise<string | undefined> {
  const bytes = await readIfPresent(url, headers);
  return bytes && new TextDecoder('utf-8', { fatal: true }).decode(bytes);
}

async function tensorsIn(file: ByteSource, what: string) {
  const start = new Uint8Array(Math.min(8, file.size));
  await file.read(start, 0);
  const header = new Uint8Array(readHeaderLength(start, file.size, what));
  await file.read(header, 8);
  const { tensors } = parseHeader(header, file.size, what);
  const find = (name: string) => {
    const info = tensors.get(name);
    if (info) return info;
    throw new LfmError('tensor-missing', `${what} has no tensor ${name}.`);
  };
  const read = async (name: string) => {
    const { byteOffset, byteLength } = find(name);
    const bytes = new Uint8Array(byteLength);
    await file.read(bytes, byteOffset);
    return bytes;
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
  return { tensors, read, readFloat32, close: () => file.close() };
}

/** Errors: `no-files`, always. */
export async function saveBytes(path: string): Promise<void> {
  throw new LfmError('no-files', `${path}: a browser has no files to write; keep what toBytes() gives where you like.`);
}
