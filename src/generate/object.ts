// What a schema makes of a text: a value, checked and typed by the schema where it is one of zod.
import type { z } from 'zod';
import type { JsonObject } from '../files/json.ts';
import { LfmError } from '../tensor/error.ts';

/** A JSON Schema, or a schema of zod 4. */
export type ObjectSchema = JsonObject | z.ZodType;

/** The value that a schema's texts stand for. */
export type ObjectOf<S> = S extends z.ZodType<infer T> ? T : S extends undefined ? undefined : unknown;

export function isTyped(schema: unknown): schema is z.ZodType {
  return typeof schema === 'object' && schema !== null && '_zod' in schema && 'safeParse' in schema;
}

/**
 * Makes the value of a text that was made under a schema; undefined without one. Errors: `no-object` where the text was cut
 * short, or where the schema asks for more than a text can be kept to.
 */
export function objectReader<S>(schema: S | undefined): (text: string, finishReason: string) => ObjectOf<S> {
  return (text, finishReason) => {
    const value = schema === undefined ? undefined : readObject(schema, text, finishReason);
    // The schema that says what the type is has just been held against it.
    return value as ObjectOf<S>;
  };
}

function readObject(schema: unknown, text: string, finishReason: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const why =
      finishReason === 'length'
        ? 'maxTokens or the context ended the text before the value was whole: raise maxTokens, or bound the schema with maxLength and maxItems'
        : 'the text ended before the value was whole, by a stop string or because its loop was left';
    throw new LfmError('no-object', `There is no object: ${why}. The text is in text.`, { cause });
  }
  if (!isTyped(schema)) return value;
  const checked = schema.safeParse(value);
  if (checked.success) return checked.data;
  const [issue] = checked.error.issues;
  throw new LfmError(
    'no-object',
    `There is no object: the text is JSON of the schema's shape, and the schema asks for more, at ${issue?.path.join('.') || 'the top'}: ${issue?.message ?? 'refused'}.`,
  );
}
