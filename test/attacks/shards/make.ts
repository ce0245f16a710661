// Makes the hostile sharded checkpoints in this folder, each a folder named after the error code it must meet.
// Run with: npx tsx test/attacks/shards/make.ts
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const utf8 = new TextEncoder();

/** A safetensors file of one zero byte a tensor. */
function shard(names: readonly string[], metadata?: Readonly<Record<string, string>>): Uint8Array {
  const entries = names.map(
    (name, i) => `${JSON.stringify(name)}:{"dtype":"U8","shape":[1],"data_offsets":[${i},${i + 1}]}`,
  );
  const json = utf8.encode(`{${[...(metadata ? [`"__metadata__":${JSON.stringify(metadata)}`] : []), ...entries]}}`);
  const file = new Uint8Array(8 + json.length + names.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  return file;
}

const INDEX = 'model.safetensors.index.json';
const [ONE, TWO] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
const index = (weightMap: string, totalBytes: unknown = 2) =>
  utf8.encode(`{"metadata":{"total_size":${JSON.stringify(totalBytes)}},"weight_map":${weightMap}}`);
const right = `{"a":"${ONE}","b":"${TWO}"}`;

type Files = Readonly<Record<string, Uint8Array>>;
const files = (weightMap: Uint8Array, one = shard(['a']), two = shard(['b'])): Files => ({
  [INDEX]: weightMap,
  [ONE]: one,
  [TWO]: two,
});

/** Files by name, by error code. Several attacks on one rule have a number at the end. */
export const attacks: Readonly<Record<string, Files>> = {
  'index-weight-map': files(index('[]')),
  'index-empty': files(index('{}')),
  'index-file-name': files(index(`{"a":"../shards/index-empty/${ONE}","b":"${TWO}"}`)),
  'index-file-name-2': files(index(`{"a":"/etc/model.safetensors","b":"${TWO}"}`)),
  'index-file-name-3': files(index(`{"a":"C:model.safetensors","b":"${TWO}"}`)),
  'index-file-name-4': files(index(`{"a":"config.json","b":"${TWO}"}`)),
  'index-file-missing': files(index(`{"a":"${ONE}","b":"model-00003-of-00002.safetensors"}`)),
  'index-tensor': files(index(`{"a":"${ONE}","b":"${TWO}","c":"${TWO}"}`)),
  'index-tensor-2': files(index(`{"a":"${TWO}","b":"${ONE}"}`)),
  'index-tensor-3': files(index(`{"a":"${ONE}","b":"${TWO}","__proto__":"${TWO}"}`)),
  'index-duplicate-tensor': files(index(right), shard(['a']), shard(['a', 'b'])),
  'index-unlisted-tensor': files(index(right), shard(['a', 'lm_head.weight'])),
  'index-unlisted-tensor-2': files(index(right), shard(['a', '__proto__'])),
  'index-metadata': files(index(right), shard(['a'], { format: 'pt' }), shard(['b'], { format: 'tf' })),
  'index-total-size': files(index(right, 3)),
  'index-total-size-2': files(index(right, -1)),
  'index-total-size-3': files(index(right, '2')),
  'json-file-duplicate-key': files(index(`{"a":"${ONE}","b":"${TWO}","b":"${ONE}"}`)),
  'safetensors-trailing-data': files(index(right), Uint8Array.of(...shard(['a']), 0)),
};

/** Names that objects mistreat, where they belong. */
export const harmless: Files = files(
  index(`{"__proto__":"${ONE}","constructor":"${TWO}"}`),
  shard(['__proto__']),
  shard(['constructor']),
);

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [code, contents] of Object.entries(attacks)) {
    const folder = new URL(`${code}/`, import.meta.url);
    mkdirSync(folder, { recursive: true });
    for (const [name, bytes] of Object.entries(contents)) writeFileSync(new URL(name, folder), bytes);
  }
}
