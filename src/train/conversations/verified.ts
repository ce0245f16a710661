// Conversations whose answers are known to be right, for what small teachers are weak at: sums, extraction, copying, recall, form.
import type { Random } from '../../tensor/index.ts';
import type { Conversation } from './conversation.ts';
import { pick, whole } from './drawing.ts';

const names = [
  'Anna',
  'Ben',
  'Clara',
  'David',
  'Elena',
  'Farid',
  'Grace',
  'Hugo',
  'Ines',
  'Jonas',
  'Kira',
  'Liam',
  'Mona',
  'Noah',
  'Olga',
  'Pablo',
  'Rosa',
  'Sam',
  'Tara',
  'Yusuf',
];
const cities = [
  'Lisbon',
  'Oslo',
  'Nairobi',
  'Kyoto',
  'Lima',
  'Boston',
  'Vienna',
  'Cairo',
  'Dublin',
  'Hanoi',
  'Quito',
  'Warsaw',
  'Athens',
  'Perth',
  'Toronto',
];
const jobs = [
  'teacher',
  'nurse',
  'baker',
  'engineer',
  'farmer',
  'painter',
  'pilot',
  'carpenter',
  'cook',
  'doctor',
  'librarian',
  'singer',
];
const things = [
  'apples',
  'books',
  'coins',
  'stones',
  'pencils',
  'shells',
  'stamps',
  'marbles',
  'flowers',
  'eggs',
  'cups',
  'tickets',
];
const objects = [
  'lamp',
  'chair',
  'river',
  'garden',
  'window',
  'basket',
  'violin',
  'mirror',
  'ladder',
  'candle',
  'bottle',
  'carpet',
  'hammer',
  'kettle',
  'needle',
  'orange',
  'pillow',
  'rocket',
  'saddle',
  'tunnel',
];
const colours = ['red', 'blue', 'green', 'yellow', 'purple', 'white', 'black', 'brown', 'pink', 'grey'];

/** `count` different ones, in random order. */
function some<T>(random: Random, list: readonly T[], count: number): T[] {
  const left = [...list];
  return Array.from({ length: Math.min(count, left.length) }, () =>
    left.splice(whole(random, 0, left.length - 1), 1),
  ).flat();
}

const say = (question: string, answer: string): Conversation => ({
  source: 'verified',
  messages: [
    { role: 'user', content: question },
    { role: 'assistant', content: answer },
  ],
});

function sum(random: Random): Conversation {
  const [a, b] = [whole(random, 2, 99), whole(random, 2, 99)];
  const kind = pick(random, ['plus', 'minus', 'times'] as const);
  const [x, y, symbol, result] =
    kind === 'plus'
      ? [a, b, '+', a + b]
      : kind === 'minus'
        ? [Math.max(a, b), Math.min(a, b), '-', Math.abs(a - b)]
        : [a % 12 || 12, b % 12 || 12, '×', (a % 12 || 12) * (b % 12 || 12)];
  const question = pick(random, [
    `What is ${x} ${kind} ${y}?`,
    `Calculate ${x} ${symbol} ${y}.`,
    `${x} ${symbol} ${y} = ?`,
    `How much is ${x} ${kind} ${y}?`,
  ]);
  return say(question, pick(random, [`${x} ${symbol} ${y} = ${result}`, `${x} ${kind} ${y} is ${result}.`]));
}

function wordProblem(random: Random): Conversation {
  const [name = '', other = ''] = some(random, names, 2);
  const thing = pick(random, things);
  const [a, b, c] = [whole(random, 5, 60), whole(random, 2, 40), whole(random, 2, 5)];
  if (random.uniform() < 0.5)
    return say(
      `${name} has ${a} ${thing}. ${other} gives ${name} ${b} more. How many ${thing} does ${name} have now?`,
      `${name} starts with ${a} ${thing} and gets ${b} more: ${a} + ${b} = ${a + b}. ${name} has ${a + b} ${thing} now.`,
    );
  return say(
    `${name} has ${c} boxes with ${b} ${thing} in each. How many ${thing} are there in all?`,
    `There are ${c} boxes with ${b} ${thing} each: ${c} × ${b} = ${c * b}. There are ${c * b} ${thing} in all.`,
  );
}

function larger(random: Random): Conversation {
  const numbers = some(
    random,
    Array.from({ length: 200 }, (_, i) => i + 1),
    whole(random, 3, 6),
  );
  const isLargest = random.uniform() < 0.5;
  const found = isLargest ? Math.max(...numbers) : Math.min(...numbers);
  return say(
    `Which of these numbers is the ${isLargest ? 'largest' : 'smallest'}: ${numbers.join(', ')}?`,
    `The ${isLargest ? 'largest' : 'smallest'} number is ${found}.`,
  );
}

function extraction(random: Random): Conversation {
  const [name, city, job, age] = [pick(random, names), pick(random, cities), pick(random, jobs), whole(random, 19, 80)];
  const text = pick(random, [
    `${name} is ${age} years old and works as a ${job} in ${city}.`,
    `Our new neighbour ${name}, a ${job} from ${city}, has just turned ${age}.`,
    `In ${city} I met ${name}, who is ${age} and earns a living as a ${job}.`,
  ]);
  const [question, answer] = pick(random, [
    [`How old is the person?`, `${name} is ${age} years old.`],
    [`Where does the story take place or come from?`, city],
    [`What is the person's job?`, `${name} is a ${job}.`],
    [`Give the name, age, job and city as JSON.`, JSON.stringify({ name, age, job, city })],
    [`List the name, age, job and city, one on each line.`, `Name: ${name}\nAge: ${age}\nJob: ${job}\nCity: ${city}`],
  ] as const);
  return say(`${text}\n\n${question}`, answer);
}

function copying(random: Random): Conversation {
  const words = some(random, objects, whole(random, 3, 9));
  const list = words.join(', ');
  const [question, answer] = pick(random, [
    [`Repeat these words: ${list}.`, list],
    [`Write these words in alphabetical order: ${list}.`, [...words].sort().join(', ')],
    [`Write these words in reverse order: ${list}.`, [...words].reverse().join(', ')],
    [`How many words are in this list: ${list}?`, `There are ${words.length} words in the list.`],
    [`What is the last word of this list: ${list}?`, words.at(-1) ?? ''],
    [`What is the first word of this list: ${list}?`, words[0] ?? ''],
    [`Write these words in capital letters: ${list}.`, list.toUpperCase()],
    [`Write each of these words on a line of its own: ${list}.`, words.join('\n')],
    [`Number these words: ${list}.`, words.map((word, i) => `${i + 1}. ${word}`).join('\n')],
  ] as const);
  return say(question, answer);
}

/** A fact among up to 60 others of its kind. */
function recall(random: Random): Conversation {
  const all = names.flatMap((name) => objects.map((object) => [name, object] as const));
  const facts = some(random, all, whole(random, 4, 60)).map(([name, object]) => ({
    name,
    object,
    colour: pick(random, colours),
    number: whole(random, 100, 999),
  }));
  const asked = pick(random, facts);
  const isColour = random.uniform() < 0.5;
  const text = facts
    .map(({ name, object, colour, number }) =>
      isColour ? `The ${object} of ${name} is ${colour}.` : `The number of ${name}'s ${object} is ${number}.`,
    )
    .join(' ');
  const question = isColour
    ? `What colour is the ${asked.object} of ${asked.name}?`
    : `What is the number of ${asked.name}'s ${asked.object}?`;
  const answer = isColour
    ? `The ${asked.object} of ${asked.name} is ${asked.colour}.`
    : `The number of ${asked.name}'s ${asked.object} is ${asked.number}.`;
  return say(random.uniform() < 0.5 ? `${text}\n\n${question}` : `${question}\n\n${text}`, answer);
}

/** Things said some turns ago. */
function memory(random: Random): Conversation {
  const [name, city, colour] = [pick(random, names), pick(random, cities), pick(random, colours)];
  const facts = some(
    random,
    [
      {
        told: `My name is ${name}.`,
        reply: `Nice to meet you, ${name}!`,
        asked: 'What is my name?',
        answer: `Your name is ${name}.`,
      },
      {
        told: `I live in ${city}.`,
        reply: `${city} is a wonderful place to live.`,
        asked: 'Where do I live?',
        answer: `You live in ${city}.`,
      },
      {
        told: `My favourite colour is ${colour}.`,
        reply: `${colour[0]?.toUpperCase()}${colour.slice(1)} is a lovely colour.`,
        asked: 'What is my favourite colour?',
        answer: `Your favourite colour is ${colour}.`,
      },
    ],
    whole(random, 2, 3),
  );
  const messages = [
    ...facts.flatMap(({ told, reply }) => [
      { role: 'user' as const, content: told },
      { role: 'assistant' as const, content: reply },
    ]),
    ...some(random, facts, 2).flatMap(({ asked, answer }) => [
      { role: 'user' as const, content: asked },
      { role: 'assistant' as const, content: answer },
    ]),
  ];
  return { source: 'verified', messages };
}

const sought = [
  ['The secret code of {k} is {v}.', 'What is the secret code of {k}?'],
  ["{k}'s ticket has the number {v}.", "Which number does {k}'s ticket have?"],
  ['To reach {k}, dial {v}.', 'What does one dial to reach {k}?'],
  ['{k} lives at house number {v}.', 'At which house number does {k} live?'],
  ['The password that {k} chose is {v}.', 'Which password did {k} choose?'],
  ['{k} weighs exactly {v} grams.', 'How many grams does {k} weigh?'],
] as const;

/** Characters of English text that a token stands for at least. */
const TOKEN_CHARACTERS = 3.2;

/** One to four facts of a kind in a long text, one of them asked for. */
function hidden(random: Random, passages: readonly string[], capacity: number): Conversation {
  const room = capacity * TOKEN_CHARACTERS - 600;
  const wanted = room * (0.15 + 0.85 * random.uniform());
  const parts: string[] = [];
  for (let at = whole(random, 0, passages.length - 1), size = 0; size < wanted; at = (at + 1) % passages.length) {
    const passage = (passages[at] ?? '').replaceAll(/\s+/gu, ' ').trim();
    parts.push(passage.slice(0, Math.ceil(wanted - size)));
    size += passage.length + 1;
  }
  const [fact, question] = pick(random, sought);
  const owners = names.flatMap((name) => [name, ...objects.map((object) => `${name}'s ${object}`)]);
  const known = some(random, owners, whole(random, 1, 4)).map((key) => {
    const value = String(whole(random, 100, pick(random, [999, 99_999, 9_999_999])));
    return { key, sentence: fact.replace('{k}', key).replace('{v}', value) };
  });
  for (const { sentence } of known) parts.splice(whole(random, 0, parts.length), 0, sentence);
  const asked = pick(random, known);
  const [text, ask] = [parts.join(' '), question.replace('{k}', asked.key)];
  return say(random.uniform() < 0.7 ? `${text}\n\n${ask}` : `${ask}\n\n${text}`, asked.sentence);
}

const kinds = [sum, wordProblem, larger, extraction, copying, recall, memory] as const;

/** Draws a conversation of one of seven kinds; one in three hides facts in passages of up to `capacity` tokens, where there are any. */
export function drawVerified(random: Random, passages: readonly string[] = [], capacity = 0): Conversation {
  if (passages.length > 0 && capacity >= 256 && random.uniform() < 1 / 3) return hidden(random, passages, capacity);
  return pick(random, kinds)(random);
}
