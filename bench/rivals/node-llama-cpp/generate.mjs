// Greedy tokens of a GGUF file by node-llama-cpp, for npm run bench -- exports.
// Usage: node generate.mjs MODEL.gguf '{"prompts":[[1,2]],"tokens":64,"threads":1}'; prints one line of JSON.
import { readFileSync } from 'node:fs';

const [path, asked] = process.argv.slice(2);
const { prompts, tokens, threads } = JSON.parse(asked);
const started = performance.now();
const { getLlama } = await import('node-llama-cpp');
const imported = performance.now();
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: threads });
const model = await llama.loadModel({ modelPath: path });
const context = await model.createContext({ contextSize: 512, threads });
const sequence = context.getSequence();
const found = [];
let firstTokenMs;
for (const prompt of prompts) {
  await sequence.clearHistory();
  const row = [];
  for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    firstTokenMs ??= performance.now() - imported;
    row.push(token);
    if (row.length === tokens) break;
  }
  found.push(row);
}
const { version } = JSON.parse(readFileSync(new URL('node_modules/node-llama-cpp/package.json', import.meta.url), 'utf8'));
const { user, system } = process.cpuUsage();
const cpuMs = (user + system) / 1000;
console.log(JSON.stringify({ version, importMs: imported - started, firstTokenMs, cpuMs, tokens: found }));
// So that whoever started this can read what memory it holds now.
for await (const _ of process.stdin);
process.exit(0);
