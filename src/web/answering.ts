// The worker's part: loads one model and answers what the page asks of it.
import { onnxWebEngine } from '../engines/onnx/engine.web.ts';
import type { WebEngine } from '../engines/onnx/engine.web.ts';
import { load } from '../generate/load.ts';
import type { LanguageModel } from '../generate/model.ts';
import type { Reply } from '../generate/reply.ts';
import { LfmError } from '../tensor/error.ts';
import type { Answer, Line, Numbered, Question } from './messages.ts';

export interface AnsweringOptions {
  /** URL of the folder with the engine's two files. */
  readonly files: string;
}

/** Answers questions on a line until the worker ends. */
export function answerOn(line: Line, { files }: AnsweringOptions): void {
  const texts = new Map<number, AbortController>();
  let loaded: Promise<{ readonly model: LanguageModel; readonly engine: WebEngine }> | undefined;

  const open = async (question: Question & { kind: 'load' }, say: (answer: Answer) => void) => {
    const { threads, numerics = 'fast', ...settings } = question.settings;
    const engine = await onnxWebEngine({ files, threads });
    const model = await load(question.url, {
      ...settings,
      numerics,
      engine,
      // The memory of a tab is small.
      maxBatch: 1,
      onDownload: (progress) => say({ kind: 'progress', stage: 'download', ...progress }),
      onProgress: ({ loadedBytes: doneBytes, totalBytes }) =>
        say({ kind: 'progress', stage: 'weights', doneBytes, totalBytes }),
    });
    return { model, engine };
  };

  const present = async () => {
    if (loaded) return loaded;
    throw new LfmError('model-missing', 'The worker has no model yet: load one first.');
  };

  const write = async (
    id: number,
    begin: (model: LanguageModel, signal: AbortSignal) => Reply,
    say: (answer: Answer) => void,
  ) => {
    const ending = new AbortController();
    texts.set(id, ending);
    try {
      const { model } = await present();
      const reply = begin(model, ending.signal);
      for await (const text of reply) say({ kind: 'piece', text });
      const { finishReason, text: _, ...details } = await reply;
      if (finishReason !== 'cancelled') say({ kind: 'end', finishReason, details });
    } finally {
      texts.delete(id);
    }
  };

  const answer = async (question: Numbered<Question>, say: (answer: Answer) => void): Promise<void> => {
    const { id } = question;
    switch (question.kind) {
      case 'load': {
        if (loaded) throw new LfmError('model-loaded', 'The worker holds a model already: start another worker.');
        loaded = open(question, say);
        const { name, engine, contextLength, chats } = (await loaded).model;
        return say({ kind: 'loaded', info: { name, engine, contextLength, chats } });
      }
      case 'chat':
        return write(id, (model, signal) => model.chat(question.messages, { ...question.options, signal }), say);
      case 'form': {
        const { model } = await present();
        return say({ kind: 'form', form: model.replyForm(question.messages, question.options) });
      }
      case 'generate':
        return write(id, (model, signal) => model.generate(question.text, { ...question.options, signal }), say);
      case 'cancel':
        return texts.get(id)?.abort(new LfmError('cancelled', 'The text was ended.'));
      case 'status': {
        const { model, engine } = await present();
        const { running, waiting } = model.scheduler.load;
        const { bytes: bufferBytes } = engine.live();
        const status = { running, waiting, cache: model.cache, bufferBytes, heapBytes: engine.heapBytes };
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
