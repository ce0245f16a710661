// node-llama-cpp's side of npm run bench -- generate: a command a line of JSON on standard input, an answer a line. Called as its
// guide advises for speed on a CPU: flash attention where the model allows it, batches of 512, as many threads as asked for.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { getLlama, InputLookupTokenPredictor } from 'node-llama-cpp';

const [path, settings] = process.argv.slice(2);
const { threads, contextLength, clock } = JSON.parse(settings);
const started = performance.now();
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: threads });
const model = await llama.loadModel({ modelPath: path });
const common = { threads: { ideal: threads, min: threads }, flashAttention: true, batchSize: 512 };
const context = await model.createContext({ ...common, contextSize: contextLength });
const plain = context.getSequence();
const loadMs = performance.now() - started;
/** By how many texts they hold. */
const several = new Map();

function milliseconds() {
  if (clock === 'wall') return performance.now();
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

async function read(sequence, tokens, count) {
  const [ids, times] = [[], []];
  let before = milliseconds();
  for await (const id of sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
    const now = milliseconds();
    times.push(now - before);
    before = now;
    ids.push(id);
    if (ids.length === count) break;
  }
  return { ids, times };
}

const commands = {
  async about() {
    const url = new URL('node_modules/node-llama-cpp/package.json', import.meta.url);
    return { version: JSON.parse(readFileSync(url, 'utf8')).version, loadMs };
  },
  /** `tokens` follow what the sequence holds where `goesOn`, with its last answer's last token in front. */
  async text({ tokens, count, goesOn, promptLookup }) {
    if (!promptLookup) {
      if (!goesOn) await plain.clearHistory();
      return read(plain, goesOn ? tokens.slice(plain.nextTokenIndex) : tokens, count);
    }
    const own = await model.createContext({ ...common, contextSize: tokens.length + count + 64 });
    const tokenPredictor = new InputLookupTokenPredictor({ predictionLength: { max: promptLookup } });
    tokenPredictor.updateInputTokens?.(tokens);
    const found = await read(own.getSequence({ tokenPredictor }), tokens, count);
    await own.dispose();
    return found;
  },
  async batch({ prompts, count }) {
    const { length } = prompts;
    const contextSize = prompts[0].length + count + 8;
    if (!several.has(length))
      several.set(length, await model.createContext({ ...common, contextSize, sequences: length }));
    const sequences = prompts.map(() => several.get(length).getSequence());
    const arrived = await Promise.all(
      prompts.map(async (tokens, at) => {
        const times = [];
        for await (const _ of sequences[at].evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
          times.push(milliseconds());
          if (times.length === count) break;
        }
        return times;
      }),
    );
    for (const sequence of sequences) sequence.dispose();
    return { arrived };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { name, ...options } = JSON.parse(line);
  console.log(JSON.stringify(await commands[name](options)));
}
process.exit(0);
