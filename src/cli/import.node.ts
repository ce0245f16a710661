// lfm --import: a user's module with operators, loaded because the command line says so and for no other reason.
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { OperatorConstructor } from '../liquid/index.ts';
import { isOperatorConstructor, registerOperators } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';

/**
 * Runs the module at `path` and makes the operators that it exports known in this process.
 * Errors: `import-missing`, `import-failed`, `import-without-operators`, `operator-name-taken`.
 */
export async function importOperators(path: string): Promise<void> {
  if (!(await stat(path).catch(() => undefined))?.isFile())
    throw new LfmError(
      'import-missing',
      `--import ${path}: there is no such file; expected a module that exports operators.`,
    );
  const exported = await importModule(path);
  const operators = exported.filter((value): value is OperatorConstructor => isOperatorConstructor(value));
  if (operators.length > 0) return registerOperators(operators);
  const foreign = exported.some((value) => typeof value === 'function' && 'operatorName' in value);
  throw new LfmError(
    'import-without-operators',
    foreign
      ? `--import ${path}: its operators are made by another copy of lfm than the one that runs; run that copy's command, with npx lfm in the folder of the module.`
      : `--import ${path}: it exports no operators; expected export const mine = operator('mine', …), with operator from lfm/liquid.`,
  );
}

async function importModule(path: string): Promise<unknown[]> {
  try {
    const found: Readonly<Record<string, unknown>> = await import(pathToFileURL(resolve(path)).href);
    return Object.values(found);
  } catch (cause) {
    const { code, message } =
      cause instanceof Error ? (cause as NodeJS.ErrnoException) : { code: '', message: String(cause) };
    const why =
      code === 'ERR_UNKNOWN_FILE_EXTENSION'
        ? `this Node (${process.version}) does not read it; expected .js or .mjs, or .ts with Node 22.18 or newer`
        : message;
    throw new LfmError('import-failed', `--import ${path}: the module could not be loaded: ${why}`, { cause });
  }
}
