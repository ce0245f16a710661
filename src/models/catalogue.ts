// Models by name: definitions without weights, of published sizes where there are any. Not among index.ts's exports: a page
// that loads one model need not carry all of them.
import { afmModels } from './afm.ts';
import type { Catalogue } from './entry.ts';
import { gemma2Models } from './gemma2.ts';
import { jambaModels } from './jamba.ts';
import { lfm1Models } from './lfm1.ts';
import { lfm2MoeModels } from './lfm2-moe.ts';
import { lfm2Models } from './lfm2-sizes.ts';
import { lfm3Models } from './lfm3.ts';
import { llamaModels } from './llama-sizes.ts';
import { mixtralModels } from './mixtral.ts';
import { openElmModels } from './openelm.ts';
import { phiModels } from './phi.ts';
import { phi3Models } from './phi3.ts';
import { qwen2MoeModels } from './qwen2-moe.ts';
import { zamba2Models } from './zamba2.ts';

export const catalogue: Catalogue = {
  ...lfm2Models,
  ...lfm2MoeModels,
  ...lfm1Models,
  ...lfm3Models,
  ...llamaModels,
  ...mixtralModels,
  ...qwen2MoeModels,
  ...jambaModels,
  ...zamba2Models,
  ...phiModels,
  ...phi3Models,
  ...gemma2Models,
  ...openElmModels,
  ...afmModels,
};
