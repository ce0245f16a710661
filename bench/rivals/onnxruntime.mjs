// Greedy tokens of a folder that lfm convert --to onnx wrote, by onnxruntime-node's own API and nothing of lfm.
// Usage: node onnxruntime.mjs FOLDER '{"prompts":[[1,2]],"tokens":64,"threads":1}'; prints one line of JSON.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { env, InferenceSession, Tensor } from 'onnxruntime-node';

const [folder, asked] = process.argv.slice(2);
const { prompts, tokens, threads } = JSON.parse(asked);
const session = await InferenceSession.create(join(folder, 'model.onnx'), { intraOpNumThreads: threads });
const found = [];
for (const prompt of prompts) {
  let state = {};
  for (const { name, shape } of session.inputMetadata) {
    if (!name.startsWith('past.')) continue;
    const dims = shape.map((size) => (size === 'batch' ? 1 : size === 'past' ? 0 : size));
    state[name] = new Tensor('float32', new Float32Array(dims.reduce((a, b) => a * b, 1)), dims);
  }
  const row = [];
  let ids = prompt;
  while (row.length < tokens) {
    const input = new Tensor('int64', BigInt64Array.from(ids.map(BigInt)), [1, ids.length]);
    const { logits, ...present } = await session.run({ input_ids: input, ...state });
    state = Object.fromEntries(Object.entries(present).map(([name, x]) => [name.replace('present.', 'past.'), x]));
    const last = logits.data.subarray(-logits.dims[2]);
    ids = [last.indexOf(last.reduce((most, value) => Math.max(most, value), -Infinity))];
    row.push(ids[0]);
  }
  found.push(row);
}
const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json');
console.log(JSON.stringify({ version: env.versions?.node ?? version, tokens: found }));
