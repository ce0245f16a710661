// @ts-check
// Loads a model, lets it write as you watch, and asks it which of two ends is likelier.
import { load } from 'lfm';

const [prompt = 'Once upon a time', name = 'brook-7m'] = process.argv.slice(2);
const model = await load(name);

process.stdout.write(prompt);
const reply = model.generate(prompt, { maxTokens: 60, temperature: 0.8, seed: 1 });
for await (const piece of reply) process.stdout.write(piece);
const { usage, finishReason } = await reply;
console.log(
  `\n\n${usage.completionTokens} tokens after ${usage.promptTokens}, ended by ${finishReason}; ${model.engine}`,
);

const ends = [' blue', ' loud'];
const scores = await model.score('The sky is', ends);
console.log(`The sky is${ends[scores.indexOf(Math.max(...scores))]}`);
await model[Symbol.asyncDispose]();
