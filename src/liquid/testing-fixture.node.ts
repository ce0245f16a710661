// For tests: what the oracles' scripts wrote.
import { readdirSync, readFileSync } from 'node:fs';

/** test/fixtures/PATH.json. */
export function readFixture<T>(path: string): T {
  return JSON.parse(readFileSync(new URL(`../../test/fixtures/${path}.json`, import.meta.url), 'utf8'));
}

/** Names of all that stand in test/fixtures/FOLDER. */
export function fixtureNames(folder: string): string[] {
  const files = readdirSync(new URL(`../../test/fixtures/${folder}/`, import.meta.url));
  return files.flatMap((file) => (file.endsWith('.json') ? [`${folder}/${file.slice(0, -'.json'.length)}`] : []));
}
