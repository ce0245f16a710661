// The announcement's own figures of 30 September 2024, kept as docs/announcement holds them, by the catalogue's names.
import small from '../../docs/announcement/published-1b.json' with { type: 'json' };
import middle from '../../docs/announcement/published-3b.json' with { type: 'json' };
import large from '../../docs/announcement/published-40b.json' with { type: 'json' };
import ruler from '../../docs/announcement/published-ruler.json' with { type: 'json' };

/** A model's row in one of the announcement's tables. */
export interface PublishedScores {
  /** Which table: `LFM-1B`, `LFM-3B`, `LFM-40B` or `RULER`. */
  readonly table: string;
  /** The model as the table names it. */
  readonly model: string;
  readonly contextLength: string | null;
  /** Percent by task, or for RULER by length; null where none was published. */
  readonly scores: Readonly<Record<string, number | null>>;
}

/** The catalogue's name of each model in the tables, by its name there. */
const names: Readonly<Record<string, string>> = {
  'LFM-1B Preview': 'lfm-1.3b',
  OpenELM: 'openelm-1.1b',
  'Llama 3.2': 'llama-3.2-1b',
  'Phi 1.5': 'phi-1.5',
  'LFM-3B Preview': 'lfm-3.1b',
  'Gemma 2': 'gemma-2-2b',
  'Zamba 2': 'zamba-2-2.7b',
  'AFM Edge': 'afm-edge',
  'LFM-40 Preview': 'lfm-40.3b-a12b',
  'Jamba 1.5': 'jamba-1.5-mini',
  Mixtral: 'mixtral-8x7b',
  'Qwen 2': 'qwen-2-57b-a14b',
  'Gemma 2 2B': 'gemma-2-2b',
  'Llama 3.2 3B': 'llama-3.2-3b',
  'Phi-3.5 3.8B': 'phi-3.5-mini',
  'Llama 3.1 8B': 'llama-3.1-8b',
  'LFM-3B': 'lfm-3.1b',
};

const tables: readonly PublishedScores[] = [
  ...[small, middle, large].flatMap(({ table, models }) =>
    models.map(({ name, contextLength, scores }) => ({ table, model: name, contextLength, scores: { ...scores } })),
  ),
  ...ruler.models.map(({ name, claimedLength, effectiveLength, scores }) => ({
    table: ruler.table,
    model: name,
    contextLength: `${claimedLength}, effective ${effectiveLength}`,
    scores: { ...scores },
  })),
];

/** What the announcement published of a model of the catalogue: none, one or two rows. */
export function publishedScores(name: string): readonly PublishedScores[] {
  return tables.filter(({ model }) => names[model] === name);
}

/** The catalogue's names of all models in the announcement's tables. */
export const announcedNames: readonly string[] = [...new Set(tables.map(({ model }) => names[model] ?? model))];
