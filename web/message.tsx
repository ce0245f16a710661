// One message of a conversation with what can be done to it.
import type { ComponentChildren, VNode } from 'preact';
import { Component } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { edit, giveResults, regenerate, say, turnTo } from './actions.ts';
import type { Message } from './conversation.ts';
import { Markdown } from './markdown.tsx';
import type { ToolCall } from './source.ts';
import { TokenView } from './tokens.tsx';

export interface MessageProps {
  readonly message: Message;
  /** Its place among those that stand in its place, from 0, and how many they are. */
  readonly place: number;
  readonly places: number;
  readonly mode: 'chat' | 'continue';
  readonly showsChances: boolean;
  /** Nothing is being written, so that it may be changed. */
  readonly isIdle: boolean;
  readonly isLast: boolean;
}

/** Drawn again only where something of it has changed: a long conversation costs nothing while its last message grows. */
export class MessageView extends Component<MessageProps> {
  override shouldComponentUpdate(next: MessageProps): boolean {
    const keys = Object.keys(next) as (keyof MessageProps)[];
    return keys.some((key) => next[key] !== this.props[key]);
  }

  override render(): VNode {
    return <OneMessage {...this.props} />;
  }
}

const names = { system: 'System', user: 'You', tool: 'Result of a tool' } as const;

function OneMessage(props: MessageProps): VNode {
  const { message, isIdle } = props;
  const [isEdited, setEdited] = useState(false);
  const endEdit = () => {
    setEdited(false);
    document.querySelector<HTMLElement>('#text')?.focus();
  };
  const name = message.role === 'assistant' ? (message.model ?? 'Model') : names[message.role];
  return (
    <article class={`message ${message.role}`} aria-label={name}>
      <h2>{name}</h2>
      {isEdited ? (
        <Editor message={message} onEnd={endEdit} />
      ) : (
        <>
          <Body {...props} />
          <Actions {...props} onEdit={() => setEdited(true)} />
        </>
      )}
      {isIdle && props.isLast && message.toolCalls && <Results calls={message.toolCalls} />}
    </article>
  );
}

function Body({ message, mode, showsChances, isIdle, isLast }: MessageProps): VNode {
  const { role, content, reasoning, toolCalls = [], chances = [] } = message;
  const isWaiting = !isIdle && isLast && content === '' && !reasoning;
  return (
    <>
      {reasoning && (
        <details class="reasoning" open={content === ''}>
          <summary>Reasoning</summary>
          <p class="text">{reasoning}</p>
        </details>
      )}
      {showsChances && chances.length > 0 ? (
        <TokenView chances={chances} />
      ) : role === 'assistant' && mode === 'chat' ? (
        <Markdown text={content} />
      ) : (
        <p class="text">{content}</p>
      )}
      {isWaiting && <p class="faint">…</p>}
      {toolCalls.map((call) => (
        <div class="call" key={call.id}>
          <h3>
            Calls <code>{call.name}</code>
          </h3>
          <pre tabIndex={0} role="region" aria-label={`Arguments of ${call.name}`}>
            <code>{pretty(call.arguments)}</code>
          </pre>
        </div>
      ))}
    </>
  );
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), undefined, 2);
  } catch {
    // It is still being written, or the model wrote no JSON.
    return text;
  }
}

function Actions({ message, place, places, isIdle, onEdit }: MessageProps & { readonly onEdit: () => void }): VNode {
  const { usage, finish, role, content } = message;
  const copy = async () => {
    await navigator.clipboard.writeText(content);
    say('Copied.');
  };
  return (
    <div class="actions">
      {places > 1 && (
        <span class="branches">
          <Act label="Previous version" disabled={!isIdle || place === 0} act={() => turnTo(message, -1)}>
            ‹
          </Act>
          <span>
            {place + 1} of {places}
          </span>
          <Act label="Next version" disabled={!isIdle || place === places - 1} act={() => turnTo(message, 1)}>
            ›
          </Act>
        </span>
      )}
      <Act disabled={!isIdle} act={onEdit}>
        Edit
      </Act>
      {role === 'assistant' && (
        <Act disabled={!isIdle} act={() => regenerate(message)}>
          Regenerate
        </Act>
      )}
      {'clipboard' in navigator && <Act act={copy}>Copy</Act>}
      {usage && (
        <span class="faint">
          {usage.completionTokens} tokens{usage.tokensPerSecond > 0 && `, ${usage.tokensPerSecond.toFixed(1)} a second`}
          {usage.cachedTokens > 0 && `, ${usage.cachedTokens} of ${usage.promptTokens} prompt tokens cached`}
        </span>
      )}
      {finish === 'stopped' && <span class="faint">stopped</span>}
      {finish === 'error' && <span class="faint">broken off</span>}
    </div>
  );
}

interface ActProps {
  /** Where the words on it do not say enough. */
  readonly label?: string;
  readonly disabled?: boolean;
  readonly act: () => unknown;
  readonly children: ComponentChildren;
}

function Act({ label, disabled = false, act, children }: ActProps): VNode {
  return (
    <button type="button" class="quiet" aria-label={label} disabled={disabled} onClick={() => void act()}>
      {children}
    </button>
  );
}

function Editor({ message, onEnd }: { readonly message: Message; readonly onEnd: () => void }): VNode {
  const box = useRef<HTMLTextAreaElement>(null);
  useEffect(() => box.current?.focus(), []);
  const save = (event: Event) => {
    event.preventDefault();
    onEnd();
    void edit(message, box.current?.value ?? '');
  };
  const keys = (event: KeyboardEvent) => {
    if (event.key === 'Escape') onEnd();
    else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) save(event);
  };
  return (
    <form class="editor" onSubmit={save}>
      <textarea ref={box} aria-label="The message" rows={4} defaultValue={message.content} onKeyDown={keys} />
      <div class="actions">
        <button type="submit">{message.role === 'user' ? 'Send' : 'Save'}</button>
        <button type="button" class="quiet" onClick={onEnd}>
          Cancel
        </button>
      </div>
    </form>
  );
}

/** What the calls gave, as the user says: the page runs no tools. */
function Results({ calls }: { readonly calls: readonly ToolCall[] }): VNode {
  const form = useRef<HTMLFormElement>(null);
  const send = (event: Event) => {
    event.preventDefault();
    const boxes = [...(form.current?.querySelectorAll('textarea') ?? [])];
    void giveResults(
      calls,
      boxes.map(({ value }) => value),
    );
  };
  return (
    <form class="editor" ref={form} onSubmit={send}>
      {calls.map(({ id, name }) => (
        <label key={id}>
          Result of {name}
          <textarea rows={2} />
        </label>
      ))}
      <button type="submit">Send results</button>
    </form>
  );
}
