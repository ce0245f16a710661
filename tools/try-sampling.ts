// Which sampling suits a model that chats: npx tsx --conditions=lfm-source tools/try-sampling.ts MODEL
// asks it questions whose answers can be checked, and tasks that tempt small models to go round in circles, under several settings.
import { load } from '../src/generate/load.ts';
import type { SamplingOptions } from '../src/generate/sampler.ts';

const MOST_TOKENS = 120;
const SEEDS = [1, 2];
/** A text goes round where so many words in a row stand in it so many times. */
const [WORDS, TIMES] = [4, 3];

const settings: readonly SamplingOptions[] = [
  { temperature: 0, repetitionPenalty: 1 },
  { temperature: 0, repetitionPenalty: 1.1 },
  { temperature: 0.2, minP: 0.1, repetitionPenalty: 1.1 },
  { temperature: 0.3, minP: 0.15, repetitionPenalty: 1.05 },
  { temperature: 0.3, minP: 0.15, repetitionPenalty: 1.1 },
  { temperature: 0.3, minP: 0.15, repetitionPenalty: 1.15 },
  { temperature: 0.6, minP: 0.15, repetitionPenalty: 1.1 },
];

const checked: readonly (readonly [question: string, answer: RegExp])[] = [
  ['What is the capital of France?', /Paris/],
  ['What is the capital of Japan?', /Tokyo/],
  ['What is 7 plus 5?', /\b(12|twelve)\b/i],
  ['What is 9 minus 4?', /\b(5|five)\b/i],
  ['Who wrote Romeo and Juliet?', /Shakespeare/],
  ['How many days are in a week?', /\b(7|seven)\b/i],
  ['What is the opposite of hot?', /cold/i],
  ['Which planet is closest to the sun?', /Mercury/],
  ['Repeat the word "river" and nothing else.', /river/i],
  ['What color is a ripe banana?', /yellow/i],
];
const open = [
  'Write a short poem about rain.',
  'Tell me a short story about a fox.',
  'Give me three tips for sleeping well.',
  'Explain to a child why the sky is blue.',
  'How do I make tea?',
  'What is a brook?',
];

function goesRound(text: string): boolean {
  const words = text.toLowerCase().split(/\s+/);
  const seen = new Map<string, number>();
  for (let at = 0; at + WORDS <= words.length; at++) {
    const run = words.slice(at, at + WORDS).join(' ');
    seen.set(run, (seen.get(run) ?? 0) + 1);
  }
  return [...seen.values()].some((times) => times >= TIMES);
}

const [name] = process.argv.slice(2);
if (name === undefined) throw new Error('Usage: tools/try-sampling.ts MODEL');
await using model = await load(name, { engine: { name: 'onnx', threads: 2 }, maxBatch: 8 });
console.log('| sampling | right | go round |\n|---|---|---|');
for (const sampling of settings) {
  const seeds = sampling.temperature === 0 ? SEEDS.slice(0, 1) : SEEDS;
  const answers = await Promise.all(
    [...checked.map(([question]) => question), ...open].flatMap((content) =>
      seeds.map((seed) => model.chat([{ role: 'user', content }], { ...sampling, seed, maxTokens: MOST_TOKENS })),
    ),
  );
  const right = answers.filter(({ text }, at) => checked[Math.floor(at / seeds.length)]?.[1].test(text)).length;
  const round = answers.filter(({ text }) => goesRound(text)).length;
  const shown = Object.entries(sampling).map(([key, value]) => `${key} ${value}`);
  console.log(`| ${shown.join(', ')} | ${right} of ${checked.length * seeds.length} | ${round} of ${answers.length} |`);
}
