// @ts-check
// Trains a small model with the operator of ema.js, saves it, loads it again, and lets it write. About ten seconds.
import { load } from 'lfm';
import { attention, defineModel, layer, swiglu } from 'lfm/liquid';
import { bpe, text, train } from 'lfm/train';
import { ema } from './ema.js';

const mlp = swiglu({ intermediateSize: 192 });
const e = layer(ema(), mlp);
const a = layer(attention({ heads: 4, keyValueHeads: 2 }), mlp);
const model = defineModel({ vocabSize: 512, hiddenSize: 64, layers: [e, e, a, e], contextLength: 256 });

const trained = await train(model, {
  data: text('looking-glass.txt'),
  tokenizer: bpe(),
  steps: 120,
  learningRate: 5e-3,
  batch: { size: 8, length: 64 },
  onStep: ({ step, loss }) => {
    if (step === 1 || step % 40 === 0) console.log(`step ${step}: loss ${loss.toFixed(2)}`);
  },
});
await trained.save('mine');

// The folder holds the operator's name and options, no code: whoever loads it brings the operator.
const reader = await load('mine', { operators: [ema] });
const { text: written } = await reader.generate("'I don't know", { maxTokens: 40, seed: 1 });
console.log(`'I don't know${written}`);
await reader[Symbol.asyncDispose]();
