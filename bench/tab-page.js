// In the browser, for npm run bench -- tab: lfm and wllama on one GGUF file; each answers the milliseconds of its tokens.
import { loadInTab } from './tab/client.js';
import { Wllama } from './wllama/index.js';

const holders = {};

globalThis.bench = {
  /** Loads a model under a name, and answers how long that took. */
  async load(name, { side, url, threads, numerics }) {
    const start = performance.now();
    if (side === 'lfm') {
      const model = await loadInTab(url, { threads, numerics, contextLength: 1024 });
      holders[name] = {
        model,
        run: (prompt, tokens) => lfm(model, prompt, tokens),
        end: () => model[Symbol.asyncDispose](),
      };
    } else {
      const model = new Wllama({ default: '/wllama/wasm/wllama.wasm' }, { suppressNativeLog: true });
      await model.loadModelFromUrl(new URL(url, location.href).href, {
        n_ctx: 1024,
        n_threads: threads,
        n_gpu_layers: 0,
        useCache: false,
      });
      holders[name] = { model, run: (prompt, tokens) => wllama(model, prompt, tokens), end: () => model.exit() };
    }
    return performance.now() - start;
  },
  run: (name, prompt, tokens) => holders[name].run(prompt, tokens),
  async end(name) {
    const status = await holders[name].model.status?.();
    await holders[name].end();
    delete holders[name];
    return status;
  },
};

/** From the first piece of text to the last, of `tokens` tokens: the prompt's time is apart. */
async function timed(pieces, begin, tokens) {
  let [text, first, last] = ['', 0, 0];
  for await (const piece of pieces) {
    last = performance.now();
    first ||= last;
    text += piece;
  }
  return { text, firstMs: first - begin, tokenMs: (last - first) / (tokens - 1) };
}

async function lfm(model, prompt, maxTokens) {
  const begin = performance.now();
  return timed(model.generate(prompt, { maxTokens, temperature: 0 }), begin, maxTokens);
}

async function wllama(model, prompt, maxTokens) {
  const begin = performance.now();
  const stream = await model.createCompletion({ prompt, max_tokens: maxTokens, temperature: 0, stream: true });
  async function* pieces() {
    for await (const { choices } of stream) if (choices[0]?.text) yield choices[0].text;
  }
  return timed(pieces(), begin, maxTokens);
}
