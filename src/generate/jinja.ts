// Chat templates in Jinja, with the globals that transformers gives them.
import { Environment, Interpreter, Template } from '@huggingface/jinja';
import { LfmError } from '../tensor/error.ts';
import { strftime } from './strftime.ts';

/** Longer lists are no chat's. */
const MOST_ITEMS = 100_000;

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
    const { value } = new Interpreter(environment).run(template.parsed);
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
