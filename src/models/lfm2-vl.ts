// LFM2-VL's language model: an LFM2 inside a folder that also holds a vision tower and a projector, which are left out.
import { z } from 'zod';
import type { Model } from '../liquid/index.ts';
import type { Spelling } from './checkpoint.ts';
import { parseConfig } from './config.ts';
import type { Shapes } from './lfm2.ts';
import { fromHuggingFace, lfm2 } from './lfm2.ts';

const schema = z.looseObject({
  text_config: z.looseObject({ model_type: z.literal('lfm2').default('lfm2') }),
  tie_word_embeddings: z.boolean().nullish(),
  tie_embedding: z.boolean().nullish(),
});

/** The language model of a config.json of `model_type` lfm2_vl; text alone. Errors: `bad-config`, naming the key. */
export function lfm2Vl(json: unknown, shapes: Shapes): Model {
  const config = parseConfig(schema, json);
  const tied = config.tie_embedding ?? config.tie_word_embeddings;
  const text = { ...config.text_config, ...(typeof tied === 'boolean' && { tie_embedding: tied }) };
  const bare = Object.entries(shapes).map(([name, shape]) => [name.replace('model.language_model.', 'model.'), shape]);
  return lfm2(fromHuggingFace(text, Object.fromEntries(bare)));
}

export const lfm2VlSpelling: Spelling = {
  names: [[[/^model\./, 'model.language_model.']]],
  ignored: [/^(model\.)?(vision_tower|multi_modal_projector)\./, 'vision tower and projector'],
};
