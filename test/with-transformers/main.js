// lfm and transformers.js in one process: both want libonnxruntime.so.1. The same model in both, which lfm exported, must give the
// same tokens; `node main.js lfm-first FOLDER` and `transformers-first FOLDER`, FOLDER as `lfm convert brook-7m --to onnx` writes it.
import { cpSync, existsSync, mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

const [order = 'lfm-first', given = 'brook-onnx'] = process.argv.slice(2);
const folder = resolve(given);
const PROMPT = 'Once upon a time';
const COUNT = 12;

async function lfmTokens() {
  const { load } = await import('lfm');
  const model = await load('brook-7m', { engine: 'onnx' });
  const { tokens } = await model.generate(PROMPT, { maxTokens: COUNT, temperature: 0 });
  const prompt = model.encode(PROMPT);
  await model[Symbol.asyncDispose]();
  return { prompt, tokens: tokens.map(({ id }) => id) };
}

async function transformersTokens() {
  const { AutoModel, AutoTokenizer, env, Tensor } = await import('@huggingface/transformers');
  env.allowRemoteModels = false;
  env.localModelPath = dirname(folder);
  const name = folder.slice(dirname(folder).length + 1);
  // It looks for graphs in a folder of their own.
  if (!existsSync(join(folder, 'onnx'))) {
    mkdirSync(join(folder, 'onnx'));
    for (const file of ['model.onnx', 'model.onnx_data']) cpSync(join(folder, file), join(folder, 'onnx', file));
  }
  const tokenizer = await AutoTokenizer.from_pretrained(name);
  const prompt = tokenizer.encode(PROMPT);
  const model = await AutoModel.from_pretrained(name, { dtype: 'fp32', use_external_data_format: true });
  const [session] = Object.values(model.sessions);
  let ids = prompt;
  let state = Object.fromEntries(
    session.inputMetadata
      .filter(({ name }) => name.startsWith('past.'))
      .map(({ name, shape }) => {
        const dims = shape.map((size) => (size === 'batch' ? 1 : size === 'past' ? 0 : size));
        return [name, new Tensor('float32', new Float32Array(dims.reduce((a, b) => a * b, 1)), dims).ort_tensor];
      }),
  );
  const tokens = [];
  for (let i = 0; i < COUNT; i++) {
    const input_ids = new Tensor('int64', BigInt64Array.from(ids.map(BigInt)), [1, ids.length]).ort_tensor;
    const { logits, ...present } = await session.run({ input_ids, ...state });
    state = Object.fromEntries(Object.entries(present).map(([key, x]) => [key.replace('present.', 'past.'), x]));
    const last = logits.data.subarray(-logits.dims[2]);
    ids = [last.indexOf(Math.max(...last))];
    tokens.push(...ids);
  }
  await model.dispose();
  return { prompt, tokens };
}

const runs =
  order === 'lfm-first'
    ? [lfmTokens, transformersTokens, lfmTokens]
    : [transformersTokens, lfmTokens, transformersTokens];
const found = [];
for (const run of runs) found.push(JSON.stringify(await run()));
if (new Set(found).size !== 1) throw new Error(`${order}: lfm and transformers.js differ:\n${found.join('\n')}`);
console.log(`${order}: the same tokens: ${found[0]}`);
