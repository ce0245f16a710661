// Where tests find the real checkpoint and the texts that are not part of the repository; they skip, and say so, without.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { host } from '#host';
import { ROOT } from './root.ts';

/** What tools/real-model.sh fetches. */
export const REAL_MODEL = join(host.cacheFolder(), 'real-model', 'SmolLM2-135M-Instruct.Q4_1.gguf');
export const hasRealModel = existsSync(REAL_MODEL);

/** Lines of natural language, a file a language. */
export const TEXTS = join(ROOT, '../shared/data/text/multilingual');
export const hasTexts = existsSync(TEXTS);

export const without = (what: string): string => ` (skipped without ${what})`;
