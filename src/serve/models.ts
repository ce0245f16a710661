// The models of a server by name, each loaded when it is first asked for.
import type { LanguageModel } from '../generate/model.ts';
import type { ToolCallStyle } from '../generate/tool-calls.ts';
import { LfmError } from '../tensor/error.ts';
import { RequestError } from './errors.ts';

export interface ServedModel {
  /** What requests call it. */
  readonly name: string;
  readonly load: (signal: AbortSignal) => Promise<LanguageModel>;
  /** How it calls tools, where that is not what its template and its tokens look like. */
  readonly toolCallStyle?: ToolCallStyle | undefined;
  /** Its folder or .gguf file, where browsers may load it to run it themselves. */
  readonly path?: string | undefined;
}

type Loading = Promise<LanguageModel>;

export class ModelPool {
  readonly #models: ReadonlyMap<string, ServedModel>;
  readonly #loading = new Map<string, Loading>();
  readonly #loaded = new Map<string, LanguageModel>();
  readonly #uses = new Map<string, number>();
  readonly #closing = new AbortController();
  /** Seconds since 1970; OpenAI's clients want a date for each model. */
  readonly created = Math.floor(Date.now() / 1000);

  /** Errors: `no-models`, `duplicate-model`. */
  constructor(models: readonly ServedModel[]) {
    if (models.length === 0) throw new LfmError('no-models', 'A server needs at least one model: name one.');
    this.#models = new Map(models.map((model) => [model.name, model]));
    if (this.#models.size < models.length) {
      const names = models.map(({ name }) => name).join(', ');
      throw new LfmError('duplicate-model', `Two models go by one name (${names}): rename a folder.`);
    }
  }

  get names(): readonly string[] {
    return [...this.#models.keys()];
  }

  toolCallStyle(name: string | undefined): ToolCallStyle | undefined {
    return this.#models.get(this.resolve(name))?.toolCallStyle;
  }

  /** Those in memory. */
  get loaded(): ReadonlyMap<string, LanguageModel> {
    return this.#loaded;
  }

  /** The name that a request means; without one, the first. Errors: `model-not-found` (404). */
  resolve(name: string | undefined): string {
    const [first = ''] = this.names;
    const wanted = name ?? first;
    if (this.#models.has(wanted)) return wanted;
    throw new RequestError(
      'model-not-found',
      `The model ${JSON.stringify(wanted)} is not served here; there is ${this.names.join(', ')}.`,
      { status: 404, param: 'model' },
    );
  }

  /** Errors: `model-not-found`, those of loading it; a later call tries again. */
  get(name: string | undefined): Loading {
    const wanted = this.#models.get(this.resolve(name));
    if (!wanted || this.#closing.signal.aborted)
      return Promise.reject(new LfmError('model-closed', 'The server is shutting down.'));
    const loading = this.#loading.get(wanted.name);
    if (loading) return loading;
    const started = wanted.load(this.#closing.signal).then(
      (model) => {
        this.#loaded.set(wanted.name, model);
        return model;
      },
      (error: unknown) => {
        this.#loading.delete(wanted.name);
        throw error;
      },
    );
    this.#loading.set(wanted.name, started);
    return started;
  }

  /** A request that means the model has begun; call what comes back once it has ended. */
  enter(name: string): () => void {
    this.#uses.set(name, (this.#uses.get(name) ?? 0) + 1);
    return () => this.#uses.set(name, (this.#uses.get(name) ?? 1) - 1);
  }

  /**
   * Frees a model's memory; the next request that means it loads it again. False where it was not in memory.
   * Errors: `model-not-found`; `model-in-use` (409) while requests need it.
   */
  async unload(name: string | undefined): Promise<boolean> {
    const wanted = this.resolve(name);
    const uses = this.#uses.get(wanted) ?? 0;
    if (uses > 0 || (this.#loading.has(wanted) && !this.#loaded.has(wanted))) {
      const what = uses > 0 ? `${uses} requests need it` : 'it is being loaded';
      throw new RequestError('model-in-use', `${JSON.stringify(wanted)} stays: ${what}. Ask again later.`, {
        status: 409,
        param: 'model',
      });
    }
    const model = this.#loaded.get(wanted);
    this.#loaded.delete(wanted);
    this.#loading.delete(wanted);
    await model?.[Symbol.asyncDispose]();
    return model !== undefined;
  }

  async close(): Promise<void> {
    this.#closing.abort(new LfmError('model-closed', 'The server is shutting down.'));
    for (const loading of this.#loading.values()) {
      const model = await loading.catch(() => undefined);
      await model?.[Symbol.asyncDispose]();
    }
    this.#loading.clear();
    this.#loaded.clear();
  }
}
