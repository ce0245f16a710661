// @ts-check
// Loads a model, lets it answer as you watch, and asks it which of two ends is likelier.
import { load } from 'lfm';

const [prompt = 'What is a brook?', name = 'brook-123m'] = process.argv.slice(2);
const model = await load(name);

// One that was not made to chat goes on with the text.
const options = { maxTokens: 60, seed: 1 };
const reply = model.chats ? model.chat([{ role: 'user', content: prompt }], options) : model.generate(prompt, options);
for await (const piece of reply) process.stdout.write(piece);
const { usage, finishReason } = await reply;
console.log(
  `\n\n${usage.completionTokens} tokens after ${usage.promptTokens}, ended by ${finishReason}; ${model.engine}`,
);

const ends = [' blue', ' loud'];
const scores = await model.score('The sky is', ends);
console.log(`The sky is${ends[scores.indexOf(Math.max(...scores))]}`);
await model[Symbol.asyncDispose]();
