// A model folder as transformers and the hub lay it out: which files are there, and one clear error for what is not.

import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { LfmError } from '../tensor/error.ts';
import { currentFolder } from './atomic.node.ts';
import type { JsonObject } from './json.ts';
import { readJsonIfPresent, readTextIfPresent } from './json.node.ts';
import { openParts, partsIndexName } from './parts.node.ts';
import { openSafetensors } from './safetensors.node.ts';
import type { TensorReader } from './safetensors.node.ts';

const WEIGHTS = 'model.safetensors';
const WEIGHTS_INDEX = 'model.safetensors.index.json';
const WEIGHTS_PARTS = partsIndexName('model');

/** What a model folder holds. JSON files are parsed but not interpreted. Close `weights` when done. */
export interface ModelFolder {
  /** Where the files are, which is not the path asked for if a replacement of it was cut short. */
  readonly path: string;
  readonly config: JsonObject;
  readonly weights: TensorReader;
  readonly generationConfig: JsonObject | undefined;
  /** tokenizer.json and its companions; a model of something other than text has none. */
  readonly tokenizer: JsonObject | undefined;
  readonly tokenizerConfig: JsonObject | undefined;
  /** chat_template.jinja; older folders keep the template in tokenizer_config.json instead. */
  readonly chatTemplate: string | undefined;
}

/**
 * Open a model folder: config.json and weights are required; those may be a checkpoint's, in parts.
 * Errors: `folder-missing`, `model-file-missing`, `json-file-…`, `safetensors-…`, `index-…`, `parts-…`.
 */
export async function openModelFolder(path: string): Promise<ModelFolder> {
  const folder = await currentFolder(path);
  if (!(await stat(folder)).isDirectory()) {
    throw new LfmError('folder-missing', `${path} is a file; expected a model folder with config.json and ${WEIGHTS}`);
  }
  const config = (await readJsonIfPresent(join(folder, 'config.json'))) ?? (await missing(folder, 'config.json'));
  const [generationConfig, tokenizer, tokenizerConfig, chatTemplate] = await Promise.all([
    readJsonIfPresent(join(folder, 'generation_config.json')),
    readJsonIfPresent(join(folder, 'tokenizer.json')),
    readJsonIfPresent(join(folder, 'tokenizer_config.json')),
    readTextIfPresent(join(folder, 'chat_template.jinja')),
  ]);
  const names = await readdir(folder);
  const file = [WEIGHTS, WEIGHTS_INDEX, WEIGHTS_PARTS].find((name) => names.includes(name));
  if (file === undefined) return missing(folder, WEIGHTS);
  const weights = await (file === WEIGHTS_PARTS ? openParts : openSafetensors)(join(folder, file));
  return { path: folder, config, weights, generationConfig, tokenizer, tokenizerConfig, chatTemplate };
}

async function missing(folder: string, name: string): Promise<never> {
  const names = (await readdir(folder)).sort();
  const listed = names.slice(0, 8).join(', ') + (names.length > 8 ? ` and ${names.length - 8} more` : '');
  const other = names.find((found) => /\.(bin|pth?|gguf|onnx)$/.test(found));
  const advice =
    name === WEIGHTS && other !== undefined ? `; ${other} is another format: convert it to safetensors` : '';
  throw new LfmError('model-file-missing', `expected ${name} in ${folder}; found ${listed || 'nothing'}${advice}`);
}
