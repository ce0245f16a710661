// Which files of a model are needed to run it.

import { LfmError } from '../../tensor/error.ts';

interface Listed {
  readonly path: string;
  readonly bytes: number;
}

const SMALL = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'chat_template.jinja',
] as const;
const INDEX = 'model.safetensors.index.json';
const SHARD = /^model-\d{5}-of-\d{5}\.safetensors$/;

/**
 * The chosen file alone; or else what a model folder has, small files first and the weights last; or the only GGUF file.
 * `model`: its name, for messages. Errors: `hub-not-found`, `hub-choose`, `hub-no-weights`.
 */
export function selectFiles<T extends Listed>(model: string, files: readonly T[], chosen?: string): readonly T[] {
  const find = (name: string) => files.find(({ path }) => path === name);
  const ggufs = files.filter(({ path }) => /\.gguf$/i.test(path));
  if (chosen !== undefined) {
    const found = find(chosen);
    if (found) return [found];
    throw new LfmError('hub-not-found', `${model} has no ${chosen}${listed(ggufs, '; it has ')}.`);
  }
  const whole = find('model.safetensors');
  const index = find(INDEX);
  const weights = whole ? [whole] : index ? [index, ...files.filter(({ path }) => SHARD.test(path))] : [];
  if (weights.length > (whole ? 0 : 1)) {
    if (!find('config.json')) throw new LfmError('hub-no-weights', `${model} has weights but no config.json.`);
    return [...SMALL.flatMap((name) => find(name) ?? []), ...weights];
  }
  const [only] = ggufs;
  if (only && ggufs.length === 1) return [only];
  if (only) {
    throw new LfmError(
      'hub-choose',
      `${model} has ${ggufs.length} GGUF files and no safetensors: choose one, by --file or as ${model}/${only.path}${listed(ggufs, ', of ')}.`,
    );
  }
  throw new LfmError(
    'hub-no-weights',
    `${model} has no model.safetensors and no GGUF file${listed(files, '; it has ')}: lfm reads nothing else.`,
  );
}

function listed(files: readonly Listed[], lead: string): string {
  if (files.length === 0) return '';
  const more = files.length > 12 ? ` and ${files.length - 12} more` : '';
  return `${lead}${files
    .slice(0, 12)
    .map(({ path }) => path)
    .join(', ')}${more}`;
}
