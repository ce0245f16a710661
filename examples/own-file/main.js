// @ts-check
// Makes a small model of a text file in some seconds, saves it, loads it from its folder, and lets it write.
import { load } from 'lfm';
import { attention, defineModel, layer, shortConv, swiglu } from 'lfm/liquid';
import { bpe, text, train } from 'lfm/train';

const [file = '../own-operator/looking-glass.txt', steps = '120'] = process.argv.slice(2);
const mlp = swiglu({ intermediateSize: 192 });
const c = layer(shortConv({ kernel: 3 }), mlp);
const a = layer(attention({ heads: 4, keyValueHeads: 2 }), mlp);

const trained = await train(defineModel({ vocabSize: 512, hiddenSize: 64, layers: [c, c, a, c], contextLength: 256 }), {
  data: text(file),
  tokenizer: bpe(),
  steps: Number(steps),
  learningRate: 5e-3,
  batch: { size: 8, length: 64 },
  onStep: ({ step, loss }) => {
    if (step === 1 || step % 40 === 0) console.log(`step ${step}: loss ${loss.toFixed(2)}`);
  },
});
await trained.save('mine');

const model = await load('mine');
const { text: written } = await model.generate('"I', { maxTokens: 60, temperature: 0.8, seed: 1 });
console.log(`"I${written}`);
await model[Symbol.asyncDispose]();
