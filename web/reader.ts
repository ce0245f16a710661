// Gathers the pieces of an answer, and hands them on a few times a second: drawing each token would take longer than making it.
import type { Message } from './conversation.ts';
import type { Chance, Piece, ToolCall, Usage } from './source.ts';

/** Between drawings; longer answers take longer to draw, and are drawn less often. */
const pauseMs = (length: number): number => 50 + length / 100;

export class Reader {
  readonly #draw: (changes: Partial<Message>) => void;
  #content = '';
  #reasoning = '';
  #chances: Chance[] = [];
  #calls: ToolCall[] = [];
  #usage: Usage | undefined;
  #finish: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(draw: (changes: Partial<Message>) => void) {
    this.#draw = draw;
  }

  get isEmpty(): boolean {
    return this.#content === '' && this.#reasoning === '' && this.#calls.length === 0;
  }

  /** All there is so far. */
  get changes(): Partial<Message> {
    return {
      content: this.#content,
      ...(this.#reasoning !== '' && { reasoning: this.#reasoning }),
      ...(this.#chances.length > 0 && { chances: [...this.#chances] }),
      ...(this.#calls.length > 0 && { toolCalls: [...this.#calls] }),
      ...(this.#usage && { usage: this.#usage }),
      ...(this.#finish !== undefined && { finish: this.#finish }),
    };
  }

  add({ text = '', reasoning = '', chances = [], toolCalls = [], usage, finish }: Piece): void {
    this.#content += text;
    this.#reasoning += reasoning;
    this.#chances.push(...chances);
    for (const { index, id, name = '', arguments: more = '' } of toolCalls) {
      const call = this.#calls[index];
      this.#calls[index] = {
        id: id ?? call?.id ?? String(index),
        name: (call?.name ?? '') + name,
        arguments: (call?.arguments ?? '') + more,
      };
    }
    this.#usage = usage ?? this.#usage;
    this.#finish = finish ?? this.#finish;
    this.#timer ??= setTimeout(
      () => {
        this.#timer = undefined;
        this.#draw(this.changes);
      },
      pauseMs(this.#content.length + this.#reasoning.length),
    );
  }

  /** Draws what is left. */
  end(finish = this.#finish): void {
    clearTimeout(this.#timer);
    this.#finish = finish;
    this.#draw(this.changes);
  }
}
