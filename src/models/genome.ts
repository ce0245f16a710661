// Models by genome, where a name is asked for: genome:31111-91111,hiddenSize=512 is a definition without weights.
import { modelFromGenome, parseGenome, printGenome, randomGenome } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { CatalogueEntry } from './entry.ts';

const PREFIX = 'genome:';

/** Of STAR's models of 125M parameters; the vocabulary is LFM2's. */
const defaults = { hiddenSize: 768, vocabSize: 65_536, contextLength: 4096 };
/** What else may be said; `seed` and `livs` of `genome:random`. */
const others = ['headDim', 'intermediateSize', 'theta', 'seed', 'livs'];

/**
 * The definition that `genome:GENES,size=number,…` names, or `genome:random,seed=1,livs=24`; undefined where a name does not
 * begin so. Errors: `bad-genome`, naming the gene or the size; when it is built, those of `modelFromGenome`.
 */
export function genomeEntry(name: string): CatalogueEntry | undefined {
  if (!name.startsWith(PREFIX)) return undefined;
  const [genes = '', ...settings] = name.slice(PREFIX.length).split(',');
  const { seed = 0, livs = 24, ...sizes } = readSettings(settings);
  const genome = genes === 'random' ? randomGenome(seed, livs) : parseGenome(genes);
  return {
    family: 'genome',
    title: `genome ${printGenome(genome)}`,
    source: 'the genome; sizes as given, or those of STAR’s models of 125M parameters',
    model: () => modelFromGenome(genome, { ...defaults, ...sizes }),
  };
}

function readSettings(settings: readonly string[]): { readonly [key: string]: number; seed?: number; livs?: number } {
  const known = [...Object.keys(defaults), ...others];
  return Object.fromEntries(
    settings.map((setting) => {
      const [, key = '', value = ''] = /^([A-Za-z]+)=(\d{1,12})$/.exec(setting) ?? [];
      if (known.includes(key)) return [key, Number(value)];
      throw new LfmError(
        'bad-genome',
        `genome: expected sizes as hiddenSize=512, of ${known.join(', ')}; found ${JSON.stringify(setting)}.`,
      );
    }),
  );
}
