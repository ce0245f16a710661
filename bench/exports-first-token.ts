// lfm's side of bench/exports-loading.ts: loads a model, gives tokens, and waits until its input ends.
const [path = '', asked = ''] = process.argv.slice(2);
const { prompts, tokens } = JSON.parse(asked) as { prompts: number[][]; tokens: number };
const { load } = await import('../src/generate/load.ts');
const started = performance.now();
const { scheduler } = await load(path, { engine: { name: 'onnx', threads: 2 } });
const found: number[][] = [];
let firstTokenMs: number | undefined;
for (const prompt of prompts) {
  const row: number[] = [];
  for await (const { id } of scheduler.generate(prompt, { maxTokens: tokens, temperature: 0 })) {
    firstTokenMs ??= performance.now() - started;
    row.push(id);
  }
  found.push(row);
}
globalThis.gc?.();
console.log(JSON.stringify({ firstTokenMs, tokens: found }));
for await (const _ of process.stdin);
process.exit(0);
