// The language models of LFM2-VL and LFM3-VL: an LFM2 or LFM3 in a folder that also holds a vision tower and a projector, which
// are left out.
import * as z from 'zod';
import type { Model } from '../liquid/index.ts';
import type { Names, Spelling } from './checkpoint.ts';
import { parseConfig } from './config.ts';
import type { Shapes } from './lfm2.ts';

const PREFIX = 'model.language_model.';

const schemaOf = (type: string) =>
  z.looseObject({
    text_config: z.looseObject({ model_type: z.literal(type).default(type) }),
    tie_word_embeddings: z.boolean().nullish(),
    tie_embedding: z.boolean().nullish(),
  });

/** How to read such a config.json, given its language model's `model_type` and how that is read. Errors: `bad-config`, naming the key. */
export function languageOf(type: string, model: (json: unknown, shapes: Shapes) => Model) {
  const schema = schemaOf(type);
  return (json: unknown, shapes: Shapes): Model => {
    const { text_config: text, ...config } = parseConfig(schema, json);
    const tied = config.tie_embedding ?? config.tie_word_embeddings;
    const bare = Object.entries(shapes).map(([name, shape]) => [name.replace(PREFIX, 'model.'), shape]);
    // Which of the two the language model goes by is its own affair.
    const both = typeof tied === 'boolean' ? { tie_word_embeddings: tied, tie_embedding: tied } : {};
    return model({ ...text, ...both }, Object.fromEntries(bare));
  };
}

/** And its checkpoint, given how that of the language model alone is spelt. */
export function withinVision({ names }: Spelling = { names: [[]] }): Spelling {
  return {
    names: names.map((list): Names => [[/^model\./, PREFIX], ...list]),
    ignored: [/^model\.(vision_tower|multi_modal_projector)\./, 'vision tower and projector'],
  };
}
