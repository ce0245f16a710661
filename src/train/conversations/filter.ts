// Which of a model's conversations and texts are worth learning from, and why the others are not.
import type { ContaminationIndex } from '../../data/contamination.ts';
import type { Piece } from './conversation.ts';
import { writtenIn } from './conversation.ts';

/**
 * cut: an answer did not end. short: an answer says nothing. loop: it says the same again and again. refused: it tells of what
 * it is instead of answering. duplicate: nearly the same was kept before. contaminated: it shares 8 words in a row with a
 * benchmark.
 */
export type Refusal = 'cut' | 'short' | 'loop' | 'refused' | 'duplicate' | 'contaminated';

/** Share of an answer's runs of three words that may have stood before in it. */
const MOST_REPEATED = 0.3;
/** Of the runs of five words of what was written, how many may be known. */
const MOST_KNOWN = 0.5;

function runs(text: string, length: number): string[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return Array.from({ length: Math.max(0, words.length - length + 1) }, (_, i) => words.slice(i, i + length).join(' '));
}

/** Keeps what it has let through, to know the next that is alike. */
export class ConversationFilter {
  readonly #known = new Set<string>();
  readonly #benchmarks: ContaminationIndex | undefined;
  /** Benchmark texts that were found, by benchmark; a few examples of each. */
  readonly found = new Map<string, { count: number; readonly examples: string[] }>();

  constructor(benchmarks?: ContaminationIndex) {
    this.#benchmarks = benchmarks;
  }

  /** Why a piece is left out; undefined where it is kept. */
  refuses(piece: Piece): Refusal | undefined {
    const { source } = piece;
    const answers = writtenIn(piece).map((written) => written.trim());
    const whole = 'text' in piece ? piece.text : piece.messages.map(({ content }) => content).join('\n');
    if (source === 'teacher') {
      if (answers.some(({ length }) => length < 2)) return 'short';
      if (answers.some(repeats)) return 'loop';
      if (answers.some((answer) => /\bas an ai\b|\blanguage model\b|i(?:'m| am) sorry, (?:but )?i can/i.test(answer)))
        return 'refused';
    }
    const hit = this.#benchmarks?.find(whole);
    if (hit) {
      const entry = this.found.get(hit.name) ?? { count: 0, examples: [] };
      this.found.set(hit.name, entry);
      entry.count++;
      if (entry.examples.length < 5) entry.examples.push(hit.words);
      return 'contaminated';
    }
    return source === 'teacher' && !this.#remember(answers, 'text' in piece ? '' : (piece.messages[0]?.content ?? ''))
      ? 'duplicate'
      : undefined;
  }

  /** Whether the answers are new enough; then they are known from now on. */
  #remember(answers: readonly string[], question: string): boolean {
    const found = answers.flatMap((answer) => runs(answer, 5));
    // Answers of a few words are all alike; with their question they are compared whole.
    const keys = found.length > 3 ? found : [[question, ...answers].join('\n').toLowerCase()];
    const known = keys.filter((key) => this.#known.has(key)).length;
    if (known > MOST_KNOWN * keys.length) return false;
    for (const key of keys) this.#known.add(key);
    return true;
  }
}

function repeats(answer: string): boolean {
  const found = runs(answer, 3);
  return found.length > 12 && new Set(found).size < (1 - MOST_REPEATED) * found.length;
}
