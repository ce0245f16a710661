// The AI SDK's language model, specification v4.
import type {
  LanguageModelV4,
  LanguageModelV4CallOptions,
  LanguageModelV4GenerateResult,
  LanguageModelV4StreamPart,
  LanguageModelV4StreamResult,
} from '@ai-sdk/provider';
import type { Call } from './call.ts';
import { callOf } from './call.ts';
import type { AnswerEvent } from './parts.ts';
import { collect, streamParts } from './parts.ts';

/** Leaving the events early ends the work. */
export type Answerer = (call: Call) => AsyncGenerator<AnswerEvent, void, undefined>;

export class LfmLanguageModel implements LanguageModelV4 {
  readonly specificationVersion = 'v4';
  readonly provider: string;
  readonly modelId: string;
  /** Nothing is fetched for a prompt. */
  readonly supportedUrls = {};
  readonly #answer: Answerer;

  constructor(provider: string, modelId: string, answer: Answerer) {
    this.provider = provider;
    this.modelId = modelId;
    this.#answer = answer;
  }

  /** Errors: `bad-provider-options`, `unsupported-content`, and those of `LanguageModel.chat` or of the server. */
  async doGenerate(options: LanguageModelV4CallOptions): Promise<LanguageModelV4GenerateResult> {
    return collect(this.#parts(options, new AbortController()));
  }

  /** Text is made no faster than the stream is read. Errors: as doGenerate, until the answer begins. */
  async doStream(options: LanguageModelV4CallOptions): Promise<LanguageModelV4StreamResult> {
    const ending = new AbortController();
    const parts = this.#parts(options, ending);
    let first: IteratorResult<LanguageModelV4StreamPart, void> | undefined = await parts.next();
    const stream = new ReadableStream<LanguageModelV4StreamPart>(
      {
        async pull(controller) {
          try {
            const { done, value } = first ?? (await parts.next());
            first = undefined;
            if (done) controller.close();
            else controller.enqueue(value);
          } catch (error) {
            controller.error(error);
          }
        },
        async cancel() {
          ending.abort();
          await parts.return();
        },
      },
      { highWaterMark: 0 },
    );
    return { stream };
  }

  #parts(options: LanguageModelV4CallOptions, { signal: ended }: AbortController) {
    const call = callOf(options);
    const signal = call.signal ? AbortSignal.any([call.signal, ended]) : ended;
    return streamParts(this.#answer({ ...call, signal }), call.warnings, signal);
  }
}
