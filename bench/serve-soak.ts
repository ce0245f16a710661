// npm run bench -- serve --soak MINUTES: streams, clients that leave, bad requests, scores and embeddings at once; afterwards
// memory must be what it was after the warm-up, and nothing may be left running.
import type { Served } from './serve-client.ts';
import { freshPrompt, quantile, stream } from './serve-client.ts';

interface Sample {
  readonly rss: number;
  readonly heapUsed: number;
  readonly buffers: number;
  readonly cacheBytes: number;
  readonly running: number;
  readonly waiting: number;
  readonly failures: readonly string[];
}

const CLIENTS = 12;
const SAMPLE_MS = 2000;
/** Of the time, before what is held is compared. */
const WARM_UP = 1 / 3;
const MOST_GROWTH = 1.05;

export async function soak(served: Served, minutes: number) {
  const end = performance.now() + minutes * 60_000;
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
      samples.push(await served.ask<Sample>({ name: 'memory' }));
      await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS));
    }
  })();
  await Promise.all([sampling, ...Array.from({ length: CLIENTS }, (_, at) => client(at))]);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const after = await served.ask<Sample>({ name: 'memory' });
  const failures = [...samples, after].flatMap((sample) => sample.failures);
  const warm = samples.slice(Math.floor(samples.length * WARM_UP));
  const [early, late] = [warm.slice(0, warm.length / 2), warm.slice(warm.length / 2)];
  const growth = (key: 'rss' | 'heapUsed' | 'buffers') => {
    const middle = (part: readonly Sample[]) =>
      quantile(
        part.map((sample) => sample[key]),
        0.5,
      );
    return { early: middle(early), late: middle(late), ratio: Number((middle(late) / middle(early)).toFixed(3)) };
  };
  const memory = { rss: growth('rss'), heapUsed: growth('heapUsed'), buffers: growth('buffers') };
  const stuck = after.running + after.waiting;
  const holds = wrong.length === 0 && failures.length === 0 && stuck === 0 && memory.rss.ratio <= MOST_GROWTH;
  return { minutes, counts, wrong: wrong.slice(0, 20), failures: failures.slice(0, 20), memory, stuck, holds };
}
