// For tests: what the oracles' scripts wrote.
import { readFileSync } from 'node:fs';

/** test/fixtures/PATH.json. */
export function readFixture<T>(path: string): T {
  return JSON.parse(readFileSync(new URL(`../../test/fixtures/${path}.json`, import.meta.url), 'utf8'));
}
