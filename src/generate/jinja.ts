// Chat templates in Jinja, with the globals that transformers gives them.
import { Environment, Interpreter, Template } from '@huggingface/jinja';
import { LfmError } from '../tensor/error.ts';
import { strftime } from './strftime.ts';

/** Longer lists are no chat's. */
const MOST_ITEMS = 100_000;
/** Statements, expressions and turns of loops in one rendering; a chat of 4,096 messages takes a tenth to a third. */
const MOST_STEPS = 1_000_000;
/** A single step may be long, so time is bounded too; a chat takes milliseconds. */
const MOST_MS = 3000;
const MOST_LENGTH = 2 ** 26;

/** A node of a template, as far as it is looked at here. */
interface Node {
  readonly type: string;
  /** What a loop goes over, and of a loop with a test the list under it. */
  readonly iterable?: Node & { readonly lhs?: Node };
}

interface Runtime {
  run(program: unknown): { readonly value: unknown };
  evaluate(node: Node | undefined, environment: unknown): { readonly value: unknown };
}

const LibraryInterpreter: new (environment: Environment) => Runtime = Interpreter;

/** Renders, until it has taken more than any chat does: what templates do is their makers' to say, and takes the whole thread. */
class BoundedInterpreter extends LibraryInterpreter {
  readonly #end = performance.now() + MOST_MS;
  /** What loops go over: a loop with nothing in it evaluates nothing. */
  readonly #looped = new WeakSet<Node>();
  #steps = 0;

  override evaluate(node: Node | undefined, environment: unknown): { readonly value: unknown } {
    this.#count(1);
    if (node?.type === 'For' && node.iterable) this.#looped.add(node.iterable.lhs ?? node.iterable);
    const found = super.evaluate(node, environment);
    const { value } = found;
    if (typeof value === 'string' && value.length > MOST_LENGTH)
      throw new Error('it writes more than any prompt holds');
    if (node && this.#looped.has(node)) {
      if (Array.isArray(value)) this.#count(value.length);
      else if (value instanceof Map) this.#count(value.size);
    }
    return found;
  }

  #count(steps: number): void {
    const before = this.#steps;
    this.#steps += steps;
    const isLate = this.#steps >> 8 !== before >> 8 && performance.now() > this.#end;
    if (isLate || this.#steps > MOST_STEPS)
      throw new Error('it takes more steps than any chat: its loops go on and on');
  }
}

/** `name`: which template it is, for messages. Errors: `bad-chat-template`. */
export function compileTemplate(name: string, source: string): Template {
  try {
    return new Template(source);
  } catch (cause) {
    const which = name === 'default' ? '' : ` ${JSON.stringify(name)}`;
    throw new LfmError('bad-chat-template', `The model's chat template${which} cannot be read: ${messageOf(cause)}`, {
      cause,
    });
  }
}

/** Errors: `chat-template-failed` with what the template says. */
export function renderTemplate(template: Template, data: Readonly<Record<string, unknown>>, now: Date): string {
  // The library's own renderer knows no other time than the clock's, in the words of the system's language.
  const globals = {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    range,
    strftime_now: (format: string) => strftime(now, format),
    raise_exception(message: string): never {
      throw new Error(message);
    },
  };
  try {
    const environment = new Environment();
    for (const [name, value] of Object.entries({ ...data, ...globals })) environment.set(name, value);
    const { value } = new BoundedInterpreter(environment).run(template.parsed);
    return String(value);
  } catch (cause) {
    throw new LfmError('chat-template-failed', `The model's chat template refused the messages: ${messageOf(cause)}`, {
      cause,
    });
  }
}

function range(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (!(count <= MOST_ITEMS)) throw new Error(`range of ${count} items`);
  return Array.from({ length: count }, (_, i) => start + i * step);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
