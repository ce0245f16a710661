// The chat: the branch that is shown, the box to write in, and the line that says what goes on.
import type { VNode } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { send, stop } from './actions.ts';
import { alternatives, shownMessages } from './conversation.ts';
import { MessageView } from './message.tsx';
import type { State } from './store.ts';
import { chosenModel, modeOf } from './store.ts';

export function Chat({ state }: { readonly state: State }): VNode {
  const { conversation, writing, settings } = state;
  const messages = shownMessages(conversation);
  const mode = modeOf(state);
  const log = useRef<HTMLDivElement>(null);
  // Follows what is written, unless the reader has scrolled up.
  const follows = useRef(true);
  const onScroll = () => {
    const { scrollHeight = 0, scrollTop = 0, clientHeight = 0 } = log.current ?? {};
    follows.current = scrollHeight - scrollTop - clientHeight < 80;
  };
  useLayoutEffect(() => {
    if (follows.current) log.current?.scrollTo(0, log.current.scrollHeight);
  });
  useEffect(() => {
    follows.current = true;
  }, [conversation.id, writing]);
  return (
    <div class="chat">
      <div
        class="log"
        ref={log}
        role="log"
        aria-label="Conversation"
        aria-busy={writing !== undefined}
        tabIndex={0}
        onScroll={onScroll}
      >
        <div class={`messages ${mode}`}>
          {messages.length === 0 && <Welcome mode={mode} model={chosenModel(state)?.id} />}
          {messages.map((message, index) => {
            const all = alternatives(conversation, message);
            return (
              <MessageView
                key={message.id}
                message={message}
                place={all.findIndex(({ id }) => id === message.id)}
                places={all.length}
                mode={mode}
                showsChances={settings.probabilities}
                isIdle={writing === undefined}
                isLast={index === messages.length - 1}
              />
            );
          })}
        </div>
      </div>
      <Composer state={state} />
    </div>
  );
}

const BEGINNINGS = ['Once upon a time', 'The old man', 'It was a dark night'];
const QUESTIONS = ['What is a brook?', 'Write three lines about rain.', 'Name five rivers, as a list.'];

function Welcome({ mode, model }: { readonly mode: 'chat' | 'continue'; readonly model: string | undefined }): VNode {
  const continues = mode === 'continue';
  return (
    <div class="welcome">
      <h2>{continues ? 'Begin a text' : 'Say something'}</h2>
      <p>
        {model ?? 'The model'} runs on this machine.{' '}
        {continues ? 'Write a beginning, and it goes on from there.' : 'What you write stays here.'}
      </p>
      <p class="actions">
        {(continues ? BEGINNINGS : QUESTIONS).map((text) => (
          <button key={text} type="button" class="quiet" disabled={model === undefined} onClick={() => void send(text)}>
            {text}
          </button>
        ))}
      </p>
    </div>
  );
}

function Composer({ state }: { readonly state: State }): VNode {
  const { writing, conversation } = state;
  const box = useRef<HTMLTextAreaElement>(null);
  const continues = modeOf(state) === 'continue';
  const last = conversation.messages.find(({ id }) => id === conversation.leaf);
  // A text goes on from any end; a message whose answer failed is asked again.
  const isEmptyFine = last !== undefined && (continues || last.role !== 'assistant');
  const submit = (event: Event) => {
    event.preventDefault();
    const text = box.current?.value ?? '';
    if (writing !== undefined || (text.trim() === '' && !isEmptyFine)) return;
    if (box.current) box.current.value = '';
    void send(text);
  };
  const keys = (event: KeyboardEvent) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) submit(event);
  };
  useEffect(() => box.current?.focus(), [conversation.id]);
  const placeholder = continues
    ? last
      ? 'Write on, or leave it empty for more'
      : 'The beginning of a text'
    : isEmptyFine
      ? 'Write a message, or send nothing to ask again'
      : 'Write a message';
  return (
    <form class="composer" onSubmit={submit}>
      <label class="hidden" for="text">
        {continues ? 'Your text' : 'Your message'}
      </label>
      <div class="row">
        <textarea id="text" ref={box} rows={2} placeholder={placeholder} onKeyDown={keys} aria-describedby="keys" />
        {writing === undefined ? (
          <button type="submit" class="main" disabled={chosenModel(state) === undefined}>
            {continues ? 'Continue' : 'Send'}
          </button>
        ) : (
          <button type="button" class="main" onClick={stop}>
            Stop
          </button>
        )}
      </div>
      <p id="keys" class="hidden">
        Enter sends, Shift and Enter begin a new line, Escape stops an answer.
      </p>
      <StatusLine state={state} />
    </form>
  );
}

function StatusLine({ state }: { readonly state: State }): VNode {
  const { status, conversation } = state;
  const last = shownMessages(conversation).findLast(({ usage }) => usage)?.usage;
  const { contextLength = 0 } = chosenModel(state) ?? {};
  // The last token of all is never read, and so may lie one beyond.
  const used = last ? Math.min(contextLength, last.promptTokens + last.completionTokens) : 0;
  return (
    <div class="status">
      <p role="status" class={status.isError ? 'error' : ''}>
        {status.text} {status.share !== undefined && <progress aria-label="Done" value={status.share} />}
      </p>
      {last && contextLength > 0 && (
        <label>
          context {used} of {contextLength}{' '}
          <meter min={0} max={contextLength} high={contextLength * 0.8} value={used} />
        </label>
      )}
    </div>
  );
}
