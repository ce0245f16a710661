// The worker's part: loads one model and answers what the page asks of it.
import type { LanguageModel } from '../generate/model.ts';
import type { Reply } from '../generate/reply.ts';
import { LfmError } from '../tensor/error.ts';
import type { Open, Opened } from './opening.ts';
import { protocolOver, type Protocol } from './protocol.ts';
import type { Answer, Line, Numbered, Question, SentOptions } from './messages.ts';

/** Answers questions on a line until the worker ends. `open` loads the model that is asked for. */
export function answerOn(line: Line, open: Open): void {
  const texts = new Map<number, AbortController>();
  let loaded: Promise<Opened & Protocol> | undefined;

  const present = async () => {
    if (loaded) return loaded;
    throw new LfmError('model-missing', 'The worker has no model yet: load one first.');
  };

  const write = async (
    id: number,
    { adapter }: SentOptions,
    begin: (model: LanguageModel, signal: AbortSignal) => Reply,
    say: (answer: Answer) => void,
  ) => {
    const ending = new AbortController();
    texts.set(id, ending);
    try {
      const { model, ready } = await present();
      if (adapter !== undefined) await ready(adapter);
      const reply = begin(model, ending.signal);
      for await (const text of reply) say({ kind: 'piece', text });
      const { finishReason, text: _, ...details } = await reply;
      if (finishReason !== 'cancelled') say({ kind: 'end', finishReason, details });
    } finally {
      texts.delete(id);
    }
  };

  const pass = async (
    id: number,
    { method, path, type, body }: Question & { kind: 'request' },
    say: (answer: Answer) => void,
  ) => {
    const ending = new AbortController();
    texts.set(id, ending);
    try {
      const { respond } = await present();
      const headers = type === null ? {} : { 'content-type': type };
      const { signal } = ending;
      const answered = await respond(new Request(new URL(path, 'http://tab'), { method, headers, body, signal }));
      say({ kind: 'head', status: answered.status, headers: [...answered.headers] });
      const reader = answered.body?.getReader();
      for (let part = await reader?.read(); part?.value && !signal.aborted; part = await reader?.read())
        say({ kind: 'bytes', bytes: new Uint8Array(part.value) });
      if (signal.aborted) await reader?.cancel();
      else say({ kind: 'over' });
    } finally {
      texts.delete(id);
    }
  };

  const answer = async (question: Numbered<Question>, say: (answer: Answer) => void): Promise<void> => {
    const { id } = question;
    switch (question.kind) {
      case 'load': {
        if (loaded) throw new LfmError('model-loaded', 'The worker holds a model already: start another worker.');
        loaded = open(question, (progress) => say({ kind: 'progress', ...progress })).then(async (opened) => ({
          ...opened,
          ...(await protocolOver(opened.model, question.settings.adapters)),
        }));
        const { name, engine, contextLength, chats } = (await loaded).model;
        return say({ kind: 'loaded', info: { name, engine, contextLength, chats } });
      }
      case 'chat':
        return write(
          id,
          question.options,
          (model, signal) => model.chat(question.messages, { ...question.options, signal }),
          say,
        );
      case 'form': {
        const { model } = await present();
        return say({ kind: 'form', form: model.replyForm(question.messages, question.options) });
      }
      case 'generate':
        return write(
          id,
          question.options,
          (model, signal) => model.generate(question.text, { ...question.options, signal }),
          say,
        );
      case 'request':
        return pass(id, question, say);
      case 'cancel':
        return texts.get(id)?.abort(new LfmError('cancelled', 'The text was ended.'));
      case 'status': {
        const { model, memory } = await present();
        const { running, waiting } = model.scheduler.load;
        const status = { running, waiting, cache: model.cache, ...memory() };
        return say({ kind: 'status', status });
      }
    }
  };

  line.addEventListener('message', ({ data }: MessageEvent<Numbered<Question>>) => {
    const say = (told: Answer) => line.postMessage({ ...told, id: data.id }, {});
    answer(data, say).catch((error: unknown) => {
      const code = error instanceof LfmError ? error.code : 'tab-failed';
      say({ kind: 'failed', code, message: error instanceof Error ? error.message : String(error) });
    });
  });
}
