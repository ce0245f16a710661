// A model in this tab as a source of answers: lfm's own worker, which the server hands out with the model's files, and which is
// asked what a server is asked.
import type * as Client from '../src/web/client.ts';
import type { TabEngine, TabModel, TabProgress } from '../src/web/client.ts';
import { protocolSource, type Send } from './protocol-source.ts';
import type { ChatSource, ModelInfo } from './source.ts';

/** The code that runs models is loaded when it is first needed: most of it is the engine. */
const CLIENT = '/tab/client.js';

export interface TabSourceOptions {
  /** Asks the server for the models' files. */
  readonly send: Send;
  /** What it wants to know of who asks. */
  readonly headers: () => Record<string, string>;
  /** What a model is to run on. */
  readonly engine: () => TabEngine;
  /** Tells what is known of models that are not loaded here, and draws them. */
  readonly server: ChatSource;
  readonly onProgress: (progress: TabProgress) => void;
}

/** A model that tabs may run, with its adapters by name. */
interface Offered {
  readonly id: string;
  readonly url: string;
  readonly adapters: Readonly<Record<string, string>>;
}

interface Opened {
  readonly id: string;
  readonly adapters: Offered['adapters'];
  readonly wanted: TabEngine;
  readonly model: TabModel;
  readonly source: ChatSource;
}

export function tabSource({ send, headers, engine, server, onProgress }: TabSourceOptions): ChatSource {
  let opened: Opened | undefined;
  const offered = async (): Promise<readonly Offered[]> => {
    const response = await send('/tab/models');
    if (!response.ok) throw new Error('This server gives tabs no models to run.');
    const { data }: { data: Offered[] } = await response.json();
    return data;
  };
  const isOpen = (id: string) =>
    opened?.wanted === engine() && (opened.id === id || Object.hasOwn(opened.adapters, id));
  const open = async (asked: string, signal: AbortSignal): Promise<Opened> => {
    if (opened && isOpen(asked)) return opened;
    const wanted = engine();
    const found = (await offered()).find(({ id, adapters }) => id === asked || Object.hasOwn(adapters, asked));
    if (!found) throw new Error(`${asked} is not among the models that a tab may run.`);
    // A tab has room for one.
    await opened?.model[Symbol.asyncDispose]();
    opened = undefined;
    const client: typeof Client = await import(/* @vite-ignore */ CLIENT);
    const { id, url, adapters } = found;
    const model = await client.loadInTab(url, { engine: wanted, adapters, signal, onProgress, headers: headers() });
    opened = { id, adapters, wanted, model, source: protocolSource(model.fetch) };
    return opened;
  };
  return {
    async models() {
      const [ids, known] = [await offered(), await server.models()];
      const all = ids.flatMap(({ id, adapters }) => [
        { id, parent: null },
        ...Object.keys(adapters).map((name) => ({ id: name, parent: id })),
      ]);
      return all.map((one): ModelInfo => {
        if (opened && isOpen(one.id)) return { ...opened.model.info, ...one, loaded: true };
        const { chats, contextLength } = known.find(({ id }) => id === one.id) ?? {};
        return { ...one, loaded: false, chats, contextLength };
      });
    },
    async *answer(asked, signal) {
      const { id, source } = await open(asked.model, signal);
      // The model itself is called otherwise there, and meant where no name is given.
      const model = id === asked.model ? '' : asked.model;
      yield* source.answer({ ...asked, model }, signal);
    },
    async inspect(id) {
      const report = await server.inspect(id);
      if (!opened || !isOpen(id)) return { ...report, engine: 'this tab, once the model is asked' };
      const { heapBytes } = await opened.model.status();
      return {
        ...report,
        engine: `${opened.model.info.engine}; ${Math.round(heapBytes / 2 ** 20)} MiB of this tab’s memory`,
      };
    },
  };
}
