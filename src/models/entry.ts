// What the catalogue holds: a model by name, without weights, and where its sizes come from.
import type { Model } from '../liquid/index.ts';

export interface CatalogueEntry {
  /** The architecture's name. */
  readonly family: string;
  /** The model's name, as its maker writes it. */
  readonly title: string;
  /** Where the sizes come from, and which of them are ours. */
  readonly source: string;
  readonly model: () => Model;
}

/** Entries by the name that commands take. */
export type Catalogue = Readonly<Record<string, CatalogueEntry>>;
