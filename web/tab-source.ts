// A model in this tab as a source of answers: lfm's own worker, which the server hands out with the model's files.
import type { ChatMessage } from '../src/generate/chat.ts';
import type * as Client from '../src/web/client.ts';
import type { TabModel, TabProgress } from '../src/web/client.ts';
import type { Asked, ChatSource, ModelInfo } from './source.ts';

/** The code that runs models is loaded when it is first needed: most of it is the engine. */
const CLIENT = '/tab/client.js';

export interface TabSourceOptions {
  /** Tells what is known of models that are not loaded here, and draws them. */
  readonly server: ChatSource;
  readonly onProgress: (progress: TabProgress) => void;
}

export function tabSource({ server, onProgress }: TabSourceOptions): ChatSource {
  let opened: { readonly id: string; readonly model: TabModel } | undefined;
  const offered = async (): Promise<readonly { readonly id: string; readonly url: string }[]> => {
    const response = await fetch('/tab/models');
    if (!response.ok) throw new Error('This server gives tabs no models to run.');
    const { data }: { data: { id: string; url: string }[] } = await response.json();
    return data;
  };
  const open = async (id: string, signal: AbortSignal): Promise<TabModel> => {
    if (opened?.id === id) return opened.model;
    const url = (await offered()).find((each) => each.id === id)?.url;
    if (url === undefined) throw new Error(`${id} is not among the models that a tab may run.`);
    // A tab has room for one.
    await opened?.model[Symbol.asyncDispose]();
    opened = undefined;
    const client: typeof Client = await import(/* @vite-ignore */ CLIENT);
    const model = await client.loadInTab(url, { signal, onProgress });
    opened = { id, model };
    return model;
  };
  return {
    async models() {
      const [ids, known] = [await offered(), await server.models()];
      return ids.map(({ id }): ModelInfo => {
        const { chats, contextLength } =
          opened?.id === id ? opened.model.info : (known.find((each) => each.id === id) ?? {});
        return { id, loaded: opened?.id === id, chats, contextLength };
      });
    },
    async *answer(asked, signal) {
      refuse(asked);
      const model = await open(asked.model, signal);
      const options = { ...asked.sampling, signal };
      const reply =
        asked.mode === 'chat'
          ? model.chat(asked.turns.map(messageOf), options)
          : model.generate(asked.turns.map(({ content }) => content).join(''), options);
      let first = NaN;
      for await (const text of reply) {
        first = Number.isNaN(first) ? performance.now() : first;
        yield { text };
      }
      const { usage, finishReason } = await reply;
      const seconds = (performance.now() - first) / 1000;
      const tokensPerSecond = seconds > 0 ? (usage.completionTokens - 1) / seconds : 0;
      yield { finish: finishReason, usage: { ...usage, tokensPerSecond } };
    },
    async inspect(id) {
      const report = await server.inspect(id);
      if (opened?.id !== id) return { ...report, engine: 'this tab, once the model is asked' };
      const { heapBytes } = await opened.model.status();
      return {
        ...report,
        engine: `${opened.model.info.engine}; ${Math.round(heapBytes / 2 ** 20)} MiB of this tab’s memory`,
      };
    },
  };
}

/** What a tab does not do yet is said, not left out. Token probabilities are: the tab has them without the tokens' texts. */
function refuse({ schema, tools }: Asked): void {
  if (schema !== undefined)
    throw new Error('A model in the tab takes no JSON schema yet: choose the server, or empty the box.');
  if (tools !== undefined)
    throw new Error('A model in the tab takes no tools yet: choose the server, or empty the box.');
}

function messageOf({ role, content }: Asked['turns'][number]): ChatMessage {
  return { role, content };
}
