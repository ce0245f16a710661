// lfm's side of bench/exports-loading.ts, as built: loads a model, gives tokens, and waits until its input ends.
const [path, asked] = process.argv.slice(2);
const { prompts, tokens, threads } = JSON.parse(asked);
const { load } = await import('lfm');
const imported = performance.now();
const { scheduler } = await load(path, { engine: { name: 'onnx', threads } });
const loadMs = performance.now() - imported;
const found = [];
let firstTokenMs;
for (const prompt of prompts) {
  const row = [];
  for await (const { id } of scheduler.generate(prompt, { maxTokens: tokens, temperature: 0 })) {
    firstTokenMs ??= performance.now() - imported;
    row.push(id);
  }
  found.push(row);
}
globalThis.gc?.();
const { user, system } = process.cpuUsage();
const cpuMs = (user + system) / 1000;
console.log(JSON.stringify({ importMs: imported, loadMs, firstTokenMs, cpuMs, tokens: found }));
for await (const _ of process.stdin);
process.exit(0);
