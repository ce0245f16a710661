// The `model.vocab` of a tokenizer.json that was never text: spellings and ids, without an object of 100,000 properties.

export class Vocabulary extends Map<string, number> {
  /** As the file has it. */
  toJSON(): Readonly<Record<string, number>> {
    return Object.fromEntries(this);
  }
}
