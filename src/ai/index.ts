// The entry point `lfm/ai`: a provider for the AI SDK (npm `ai` 7), over models of this process, of a worker, or of a server.
import type { EmbeddingModelV4, LanguageModelV4, ProviderV4 } from '@ai-sdk/provider';
import type { LoadOptions } from '../generate/load.ts';
import type { LanguageModel } from '../generate/model.ts';
import { LfmError } from '../tensor/error.ts';
import { embedLocally, embedOverHttp, LfmEmbeddingModel } from './embedding-model.ts';
import type { Server } from './http.ts';
import { answerOverHttp } from './http.ts';
import { LfmLanguageModel } from './language-model.ts';
import type { LocalModel } from './local.ts';
import { answerLocally } from './local.ts';

export type { LfmCallOptions } from './call.ts';
export type { LocalModel } from './local.ts';

export interface LfmProviderOptions {
  /** Models by the names that calls use: of `load`, or of `loadInTab`. They stay the caller's. */
  readonly models?: Readonly<Record<string, LocalModel>> | undefined;
  /** How models that `models` does not name are loaded into this process, once each, when they are first asked for. */
  readonly load?: LoadOptions | undefined;
  /** A server answers instead: the URL of its protocol, `http://127.0.0.1:8080/v1` for `lfm serve`. */
  readonly baseURL?: string | undefined;
  readonly apiKey?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Instead of the global one. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/** Called with a model's name it answers a language model. Disposing it frees the models that it loaded. */
export interface LfmProvider extends ProviderV4, AsyncDisposable {
  (modelId: string): LanguageModelV4;
  languageModel(modelId: string): LanguageModelV4;
  embeddingModel(modelId: string): EmbeddingModelV4;
  /** Errors: `unknown-model`, always: there are no models that draw. */
  imageModel(modelId: string): never;
}

/** Errors: `bad-provider-options` where both a server and models of this process are given. */
export function createLfm(options: LfmProviderOptions = {}): LfmProvider {
  const { baseURL, models = {}, load: loadOptions } = options;
  if (baseURL !== undefined && (options.models || loadOptions))
    throw new LfmError('bad-provider-options', 'createLfm: expected either baseURL or models and load, found both.');
  const loaded = new Map<string, Promise<LanguageModel>>();
  const local = async (modelId: string): Promise<LocalModel> => {
    const given = Object.hasOwn(models, modelId) ? models[modelId] : undefined;
    if (given) return given;
    const { load } = await import('../generate/load.ts');
    const loading = loaded.get(modelId) ?? load(modelId, loadOptions);
    loaded.set(modelId, loading);
    // What failed may be tried again.
    loading.catch(() => loaded.delete(modelId));
    return loading;
  };
  const server: Server | undefined =
    baseURL === undefined
      ? undefined
      : {
          baseURL,
          apiKey: options.apiKey,
          headers: options.headers ?? {},
          fetch: options.fetch ?? ((...request) => globalThis.fetch(...request)),
        };
  const languageModel = (modelId: string) =>
    new LfmLanguageModel('lfm', modelId, async function* (call) {
      yield* server ? answerOverHttp(server, modelId, call) : answerLocally(await local(modelId), modelId, call);
    });
  const embeddingModel = (modelId: string) =>
    new LfmEmbeddingModel('lfm', modelId, async (call) =>
      server ? embedOverHttp(server, modelId, call) : embedLocally(await local(modelId), call),
    );
  return Object.assign((modelId: string) => languageModel(modelId), {
    specificationVersion: 'v4' as const,
    languageModel,
    embeddingModel,
    imageModel: (modelId: string): never => {
      throw new LfmError('unknown-model', `${modelId}: lfm has no models that draw.`);
    },
    [Symbol.asyncDispose]: async () => {
      const all = [...loaded.values()];
      loaded.clear();
      for (const model of await Promise.allSettled(all))
        if (model.status === 'fulfilled') await model.value[Symbol.asyncDispose]();
    },
  });
}

/** Loads models into this process by their names, as `load` does. */
export const lfm: LfmProvider = createLfm();
