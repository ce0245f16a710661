// Models by name: definitions without weights, of published sizes where there are any.
import { afmModels } from './afm.ts';
import type { Catalogue } from './entry.ts';
import { lfm2Models } from './lfm2-sizes.ts';
import { openElmModels } from './openelm.ts';

export const catalogue: Catalogue = {
  ...lfm2Models,
  ...openElmModels,
  ...afmModels,
};
