// Architectures by the model_type of their config.json: a folder names one, and never brings code of its own.
import type { Model, OperatorConstructor } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { ParameterReader, Spelling, Tensors } from './checkpoint.ts';
import { readParameters, spelt } from './checkpoint.ts';
import { gemma2, gemma2Spelling } from './gemma2.ts';
import { lfm2Moe } from './lfm2-moe.ts';
import type { Shapes } from './lfm2.ts';
import { fromHuggingFace, lfm2 } from './lfm2.ts';
import { lfm3, lfm3Spelling } from './lfm3.ts';
import { liquid } from './liquid.ts';
import { jamba, jambaSpelling } from './jamba.ts';
import { llama, llamaFromHuggingFace, llamaSpelling } from './llama.ts';
import { mixtral, mixtralSpelling } from './mixtral.ts';
import { openElm, openElmSpelling } from './openelm.ts';
import { phi, phiSpelling } from './phi.ts';
import { phi3, phi3Spelling } from './phi3.ts';
import { qwen2Moe, qwen2MoeSpelling } from './qwen2-moe.ts';
import { languageOf, withinVision } from './vision-language.ts';
import { zamba2, zamba2Spelling } from './zamba2.ts';

interface Architecture {
  readonly model: (json: unknown, shapes: Shapes, operators: readonly OperatorConstructor[]) => Model;
  /** How its checkpoints hold what the model has, for a config.json; absent where they hold it by the same names. */
  readonly spelling?: Spelling | ((json: unknown) => Spelling);
}

const readLfm2 = (json: unknown, shapes: Shapes) => lfm2(fromHuggingFace(json, shapes));

const architectures = new Map<unknown, Architecture>([
  ['lfm2', { model: readLfm2 }],
  ['lfm2_moe', { model: lfm2Moe }],
  ['lfm2_vl', { model: languageOf('lfm2', readLfm2), spelling: withinVision() }],
  ['lfm3', { model: lfm3, spelling: lfm3Spelling }],
  ['lfm3_vl', { model: languageOf('lfm3', lfm3), spelling: withinVision(lfm3Spelling) }],
  ['liquid', { model: (json, _, operators) => liquid(json, operators) }],
  ['jamba', { model: jamba, spelling: jambaSpelling }],
  ['llama', { model: (json) => llama(llamaFromHuggingFace(json)), spelling: llamaSpelling }],
  ['mistral', { model: (json) => llama(llamaFromHuggingFace(json, 'mistral')), spelling: llamaSpelling }],
  ['qwen2', { model: (json) => llama(llamaFromHuggingFace(json, 'qwen2')), spelling: llamaSpelling }],
  ['mixtral', { model: mixtral, spelling: mixtralSpelling }],
  ['qwen2_moe', { model: qwen2Moe, spelling: qwen2MoeSpelling }],
  ['phi', { model: phi, spelling: phiSpelling }],
  ['phi3', { model: phi3, spelling: phi3Spelling }],
  ['gemma2', { model: gemma2, spelling: gemma2Spelling }],
  ['openelm', { model: openElm, spelling: openElmSpelling }],
  ['zamba2', { model: zamba2, spelling: zamba2Spelling }],
]);

function architectureOf(json: unknown): Architecture {
  const type = typeof json === 'object' && json !== null && 'model_type' in json ? json.model_type : undefined;
  const found = architectures.get(type);
  if (found) return found;
  const known = [...architectures.keys()].join(', ');
  throw new LfmError(
    'unknown-model-type',
    `config.json: expected a model_type among ${known}; found ${JSON.stringify(type) ?? 'none'}.`,
  );
}

/**
 * The model that a config.json describes; `shapes` are its checkpoint's, where there is one,
 * `operators` those that the library does not have.
 * Errors: `unknown-model-type` with the known ones, `unknown-operator`, `bad-config` naming the key.
 */
export function modelFromConfig(
  json: unknown,
  shapes: Shapes = {},
  operators: readonly OperatorConstructor[] = [],
): Model {
  return architectureOf(json).model(json, shapes, operators);
}

function spellingOf(json: unknown): Spelling {
  const { spelling = { names: [[]] } } = architectureOf(json);
  return typeof spelling === 'function' ? spelling(json) : spelling;
}

/**
 * What checkpoints of such a model call each of its parameters, where every one is a tensor of its own; `parametersOf` reads
 * these, and those that hold several in one. Errors: `unknown-model-type`.
 */
export function checkpointNames(json: unknown): (parameter: string) => string {
  const [list = []] = spellingOf(json).names;
  return (parameter) => spelt(parameter, list);
}

/**
 * A checkpoint by the names of the model that its config.json describes; `name` is the model's, for messages.
 * Errors: `unknown-model-type`, `weights-mismatch` naming the tensor and what was expected and found.
 */
export function parametersOf(model: Model, json: unknown, stored: Tensors, name: string): ParameterReader {
  return readParameters(model, spellingOf(json), stored, name);
}

export type { ParameterReader } from './checkpoint.ts';
export { openedGguf, pair, unpair } from './gguf.ts';
export { toGguf } from './gguf-export.ts';
export type { GgufExport } from './gguf-export.ts';
export type { GgufTensorSource } from './gguf.ts';
export { fromHuggingFace, lfm2, toHuggingFace } from './lfm2.ts';
export type { Lfm2Config, Shapes } from './lfm2.ts';
export { liquid, toLiquid } from './liquid.ts';
