// Reading a config.json from outside: bounded numbers, and errors that name the key.
import * as z from 'zod';
import { LfmError } from '../tensor/error.ts';

export function wholeNumber(least: number, most: number) {
  return z.number().int().min(least).max(most);
}

/** The value as the schema reads it. Errors: `bad-config`, naming the first key that is wrong and what was expected there. */
export function parseConfig<T>(schema: z.ZodType<T>, json: unknown): T {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = issue?.path.join('.') ?? '';
  throw new LfmError('bad-config', `config.json${path && `: ${path}`}: ${issue?.message ?? 'not a configuration'}.`, {
    cause: result.error,
  });
}
