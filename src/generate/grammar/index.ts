// From what a request asks of its text to a grammar over the model's vocabulary. Loaded where a request first asks.
import * as z from 'zod';
import { LfmError } from '../../tensor/error.ts';
import type { Tokenizer } from '../../text/tokenizer.ts';
import { isTyped } from '../object.ts';
import type { Constraint } from '../row.ts';
import { Automaton } from './automaton.ts';
import type { AskedCalls } from './calls.ts';
import { callRules } from './calls.ts';
import { readEbnf } from './ebnf.ts';
import { ROOT } from './expression.ts';
import type { Rules } from './expression.ts';
import { Grammar } from './grammar.ts';
import { Matcher } from './matcher.ts';
import { readPattern } from './pattern.ts';
import { readSchema } from './schema.ts';
import type { Vocabulary } from './vocabulary.ts';
import { vocabularyOf } from './vocabulary.ts';

export interface Asked {
  readonly schema?: unknown;
  readonly regex?: string | undefined;
  readonly grammar?: string | undefined;
  readonly calls?: AskedCalls | undefined;
}

const MOST_SCHEMA_LENGTH = 2 ** 18;
/** Grammars kept for each vocabulary, with what texts have made of them. */
const KEPT = 8;

const kindNames = ['schema', 'regex', 'grammar', 'calls'] as const;
type Kind = (typeof kindNames)[number];

const cache = new WeakMap<Tokenizer, Map<string, Grammar | LfmError>>();

/** What each text of a request must match. `goesOn`: the texts go on where another ends. Errors: as `grammarOf`. */
export function constraintOf(asked: Asked, tokenizer: Tokenizer, goesOn: boolean): Constraint {
  const grammar = grammarOf(asked, tokenizer);
  const dropsSpace = !goesOn && (tokenizer.definition.characters?.dropsLeadingSpace ?? false);
  return { begin: (stopIds) => new Matcher(grammar, { dropsSpace, stopIds }) };
}

/**
 * The same request has the same grammar while few others come between. Errors: `bad-schema`, `bad-regex`, `bad-grammar`, `bad-tools`: it
 * cannot be read or followed, matches no text, or is too large; `bad-limit` where more than one of them is asked.
 */
export function grammarOf(asked: Asked, tokenizer: Tokenizer): Grammar {
  const kinds = kindNames.filter((kind) => asked[kind] !== undefined);
  const [kind] = kinds;
  if (kind === undefined || kinds.length > 1)
    throw new LfmError(
      'bad-limit',
      `Expected one of schema, regex, grammar and calls that must come; found ${kinds.join(' and ') || 'none'}.`,
    );
  const source = kind === 'schema' || kind === 'calls' ? jsonText(asked[kind], kind) : String(asked[kind]);
  const known = cache.get(tokenizer) ?? new Map<string, Grammar | LfmError>();
  cache.set(tokenizer, known);
  const key = `${kind}:${source}`;
  const found = known.get(key) ?? compile(kind, source, vocabularyOf(tokenizer, asked.calls?.kept));
  // The one used last stands last.
  known.delete(key);
  known.set(key, found);
  for (const oldest of known.keys()) if (known.size > KEPT) known.delete(oldest);
  if (found instanceof LfmError) throw found;
  return found;
}

function compile(kind: Kind, source: string, vocabulary: Vocabulary): Grammar | LfmError {
  const refuse = refusalOf(kind);
  try {
    return new Grammar(new Automaton(rulesOf(kind, source, refuse), refuse), vocabulary, refuse);
  } catch (error) {
    // It would fail again.
    if (error instanceof LfmError) return error;
    throw error;
  }
}

function rulesOf(kind: Kind, source: string, refuse: (what: string) => LfmError): Rules {
  if (kind === 'grammar') return readEbnf(source, refuse);
  if (kind === 'regex') return new Map([[ROOT, readPattern(source, refuse)]]);
  if (kind === 'calls') return callRules(JSON.parse(source) as AskedCalls, refuse);
  const schema: unknown = JSON.parse(source);
  return readSchema(schema, refuse);
}

function refusalOf(kind: Kind) {
  const [code, name] = kind === 'calls' ? ['bad-tools', 'tools'] : [`bad-${kind}`, kind];
  return (what: string, cause?: unknown) => new LfmError(code, `The ${name} cannot be used: ${what}.`, { cause });
}

/** A schema as JSON: what it says cannot change under our hands, and nothing in it is a program. */
function jsonText(schema: unknown, kind: Kind): string {
  const refuse = refusalOf(kind);
  let text: string | undefined;
  try {
    text = JSON.stringify(isTyped(schema) ? z.toJSONSchema(schema, { io: 'input' }) : schema);
  } catch (cause) {
    throw refuse(
      cause instanceof RangeError ? 'it is nested too deep' : `it is no JSON Schema (${messageOf(cause)})`,
      cause,
    );
  }
  if (text === undefined) throw refuse('expected a JSON Schema or a schema of zod');
  if (text.length > MOST_SCHEMA_LENGTH)
    throw refuse(`it has ${text.length} characters; at most ${MOST_SCHEMA_LENGTH} are read`);
  return text;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
