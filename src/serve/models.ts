// The models of a server by name, each loaded when it is first asked for; an adapter is asked for as a model of its own.
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
  /** LoRA adapters of the model: folders of peft's, by what requests call them, which no other model is called. */
  readonly adapters?: Readonly<Record<string, string>> | undefined;
  /** Its folder or .gguf file, where browsers may load it to run it themselves. */
  readonly path?: string | undefined;
}

type Loading = Promise<LanguageModel>;

/** What a name means. */
interface Served {
  readonly model: ServedModel;
  /** Of an adapter. */
  readonly folder?: string | undefined;
}

export class ModelPool {
  readonly #served: ReadonlyMap<string, Served>;
  readonly #loading = new Map<string, Loading>();
  readonly #loaded = new Map<string, LanguageModel>();
  /** Adapters on their way into a model, or in it. */
  readonly #adapters = new Map<string, Promise<void>>();
  readonly #uses = new Map<string, number>();
  readonly #closing = new AbortController();
  /** Seconds since 1970; OpenAI's clients want a date for each model. */
  readonly created = Math.floor(Date.now() / 1000);

  /** Errors: `no-models`, `duplicate-model`. */
  constructor(models: readonly ServedModel[]) {
    if (models.length === 0) throw new LfmError('no-models', 'A server needs at least one model: name one.');
    const served = [
      ...models.map((model): [string, Served] => [model.name, { model }]),
      ...models.flatMap((model) =>
        Object.entries(model.adapters ?? {}).map(([name, folder]): [string, Served] => [name, { model, folder }]),
      ),
    ];
    this.#served = new Map(served);
    if (this.#served.size < served.length) {
      const names = served.map(([name]) => name).join(', ');
      throw new LfmError('duplicate-model', `Two models or adapters go by one name (${names}): rename one.`);
    }
  }

  /** What requests may ask for: the models in their order, then adapters. */
  get names(): readonly string[] {
    return [...this.#served.keys()];
  }

  /** The model that a name stands for, or that an adapter changes. Errors: `model-not-found`. */
  baseOf(name: string | undefined): string {
    return this.#find(name).model.name;
  }

  /** Errors: `model-not-found`. */
  isAdapter(name: string | undefined): boolean {
    return this.#find(name).folder !== undefined;
  }

  /** The model that answers to a name, where that is in memory. Errors: `model-not-found`. */
  loadedAs(name: string): LanguageModel | undefined {
    const model = this.#loaded.get(this.baseOf(name));
    return !this.isAdapter(name) || model?.adapters.includes(name) ? model : undefined;
  }

  toolCallStyle(name: string | undefined): ToolCallStyle | undefined {
    return this.#find(name).model.toolCallStyle;
  }

  /** Those in memory. */
  get loaded(): ReadonlyMap<string, LanguageModel> {
    return this.#loaded;
  }

  /** The name that a request means; without one, the first. Errors: `model-not-found` (404). */
  resolve(name: string | undefined): string {
    const [first = ''] = this.names;
    const wanted = name ?? first;
    if (this.#served.has(wanted)) return wanted;
    throw new RequestError(
      'model-not-found',
      `The model ${JSON.stringify(wanted)} is not served here; there is ${this.names.join(', ')}.`,
      { status: 404, param: 'model' },
    );
  }

  #find(name: string | undefined): Served {
    const wanted = this.resolve(name);
    const found = this.#served.get(wanted);
    if (found) return found;
    throw new LfmError('model-closed', `${wanted} is not served any more.`);
  }

  /** The model, which has the adapter where the name is one's. Errors: `model-not-found`, those of loading; a later call tries again. */
  async get(name: string | undefined): Loading {
    const wanted = this.resolve(name);
    const { model: base, folder } = this.#find(wanted);
    const model = await this.#load(base);
    if (folder === undefined) return model;
    const loading = this.#adapters.get(wanted) ?? model.loadAdapter(wanted, folder);
    this.#adapters.set(wanted, loading);
    try {
      await loading;
    } catch (error) {
      if (this.#adapters.get(wanted) === loading) this.#adapters.delete(wanted);
      throw error;
    }
    return model;
  }

  #load(wanted: ServedModel): Loading {
    if (this.#closing.signal.aborted)
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
    // An adapter's request needs its model too.
    const needed = new Set([name, this.baseOf(name)]);
    const count = (by: number) => {
      for (const each of needed) this.#uses.set(each, (this.#uses.get(each) ?? 0) + by);
    };
    count(1);
    return () => count(-1);
  }

  /**
   * Frees a model's memory, or an adapter's; the next request that means it loads it again. False where it was not in memory.
   * Errors: `model-not-found`; `model-in-use` (409) while requests need it.
   */
  async unload(name: string | undefined): Promise<boolean> {
    const wanted = this.resolve(name);
    const uses = this.#uses.get(wanted) ?? 0;
    const isLoading = this.#loading.has(this.baseOf(wanted)) && !this.#loaded.has(this.baseOf(wanted));
    if (uses > 0 || isLoading) {
      const what = uses > 0 ? `${uses} requests need it` : 'it is being loaded';
      throw new RequestError('model-in-use', `${JSON.stringify(wanted)} stays: ${what}. Ask again later.`, {
        status: 409,
        param: 'model',
      });
    }
    const model = this.loadedAs(wanted);
    if (this.isAdapter(wanted)) {
      this.#adapters.delete(wanted);
      await model?.unloadAdapter(wanted);
      return model !== undefined;
    }
    for (const adapter of Object.keys(this.#find(wanted).model.adapters ?? {})) this.#adapters.delete(adapter);
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
