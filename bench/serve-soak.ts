// npm run bench -- serve --soak MINUTES: streams, clients that leave, bad requests, scores and embeddings at once. What the server
// keeps of earlier texts, whose growth has a bound, is filled first; from then on memory must stay what it is, read after a
// collection of garbage, and at the end nothing may be left running.
import type { Served } from './serve-client.ts';
import { freshPrompt, quantile, stream } from './serve-client.ts';

interface Sample {
  readonly rss: number;
  readonly heapUsed: number;
  readonly external: number;
  readonly buffers: number;
  /** Of what the server keeps of earlier texts, as a share of its bounds: the least. */
  readonly full: number;
  readonly running: number;
  readonly waiting: number;
  readonly failures: readonly string[];
}

const CLIENTS = 12;
const SAMPLE_MS = 2000;
/** Once what is kept of earlier texts is full, before what is held is compared. */
const WARM_UP_MS = 60_000;
const FULL = 0.95;
const MOST_WARM_UP_MS = 300_000;
const MOST_GROWTH = 1.05;

export async function soak(served: Served, minutes: number) {
  await fill(served);
  const begin = performance.now() + WARM_UP_MS;
  const end = begin + minutes * 60_000;
  const counts: Record<string, number> = {};
  const wrong: string[] = [];
  let asked = 0;
  const post = async (path: string, body: unknown) => {
    const headers = { 'content-type': 'application/json' };
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const answer = await fetch(served.url + path, { method: 'POST', headers, body: text });
    await answer.text();
    return answer.status;
  };
  /** By name: a request, and whether it went as it should. */
  const kinds: Readonly<Record<string, (prompt: string) => Promise<boolean>>> = {
    stream: async (prompt) => (await stream(served.url, { prompt, max_tokens: 24 })).ended,
    several: async (prompt) => (await stream(served.url, { prompt, max_tokens: 8, n: 3 })).ended,
    leave: async (prompt) => (await stream(served.url, { prompt, max_tokens: 400 }, 3)).status === 200,
    whole: async (prompt) => (await post('/v1/completions', { prompt, max_tokens: 8 })) === 200,
    score: async (prompt) =>
      (await post('/v1/completions', { prompt, max_tokens: 1, echo: true, logprobs: 1 })) === 200,
    form: async (prompt) =>
      (await post('/v1/completions', { prompt, max_tokens: 12, regex: `[a-z ]{${prompt.length % 24},30}` })) === 200,
    embed: async (input) => (await post('/v1/embeddings', { input })) === 200,
    'bad JSON': async () => (await post('/v1/completions', '{"prompt":')) === 400,
    'bad value': async (prompt) => (await post('/v1/completions', { prompt, temperature: 'hot' })) === 400,
    'too long': async () => (await post('/v1/completions', { prompt: 'x '.repeat(100_000) })) === 400,
    'no such model': async (prompt) => (await post('/v1/completions', { prompt, model: 'none' })) === 404,
  };
  const names = Object.keys(kinds);
  async function client(at: number): Promise<void> {
    for (let turn = at; performance.now() < end; turn++) {
      const name = names[(turn * 5 + at) % names.length] ?? '';
      try {
        // Every fourth prompt was asked before.
        const isRight = await kinds[name]?.(freshPrompt(turn % 4 === 0 ? at : asked++, 8 + (turn % 5) * 12));
        if (!isRight) wrong.push(name);
      } catch (error) {
        wrong.push(`${name}: ${String(error)}`);
      }
      counts[name] = (counts[name] ?? 0) + 1;
    }
  }
  const samples: Sample[] = [];
  const sampling = (async () => {
    while (performance.now() < end) {
      const sample = await served.ask<Sample>({ name: 'memory' });
      if (performance.now() > begin) samples.push(sample);
      await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS));
    }
  })();
  await Promise.all([sampling, ...Array.from({ length: CLIENTS }, (_, at) => client(at))]);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const after = await served.ask<Sample>({ name: 'memory' });
  const failures = [...samples, after].flatMap((sample) => sample.failures);
  const third = Math.ceil(samples.length / 3);
  const [early, late] = [samples.slice(0, third), samples.slice(-third)];
  const growth = (key: 'rss' | 'heapUsed' | 'external' | 'buffers') => {
    const middle = (part: readonly Sample[]) =>
      quantile(
        part.map((sample) => sample[key]),
        0.5,
      );
    return { early: middle(early), late: middle(late), ratio: Number((middle(late) / middle(early)).toFixed(3)) };
  };
  const memory = {
    rss: growth('rss'),
    heapUsed: growth('heapUsed'),
    external: growth('external'),
    buffers: growth('buffers'),
  };
  const stuck = after.running + after.waiting;
  const isFlat = Object.values(memory).every(({ ratio }) => ratio <= MOST_GROWTH);
  const holds = wrong.length === 0 && failures.length === 0 && stuck === 0 && isFlat;
  return { minutes, counts, wrong: wrong.slice(0, 20), failures: failures.slice(0, 20), memory, stuck, holds };
}

/** Asks for scores of new prompts until what is kept of them has reached its bounds. */
async function fill(served: Served): Promise<void> {
  const most = performance.now() + MOST_WARM_UP_MS;
  for (let asked = 0; performance.now() < most;) {
    const bodies = Array.from({ length: CLIENTS }, () => ({
      prompt: freshPrompt(1_000_000 + asked++, 100),
      max_tokens: 1,
      echo: true,
      logprobs: 1,
    }));
    await Promise.all(bodies.map((body) => stream(served.url, body)));
    if ((await served.ask<Sample>({ name: 'memory' })).full > FULL) return;
  }
}
