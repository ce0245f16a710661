// The conversations that this browser keeps.
import type { VNode } from 'preact';
import { exportAll, importFile, openConversation, removeConversation, startConversation } from './actions.ts';
import type { State } from './store.ts';

export function Sidebar({ state }: { readonly state: State }): VNode {
  const { conversations, conversation, writing, opened } = state;
  const isBusy = writing !== undefined;
  const read = (event: Event & { readonly currentTarget: HTMLInputElement }) => {
    const { currentTarget } = event;
    const [file] = currentTarget.files ?? [];
    if (file) void importFile(file);
    // The same file may be chosen again.
    currentTarget.value = '';
  };
  return (
    <nav id="history" class={opened === 'history' ? 'sidebar open' : 'sidebar'} aria-label="Conversations">
      <button type="button" disabled={isBusy} onClick={startConversation}>
        New conversation
      </button>
      <ul>
        {conversations.map((each) => (
          <li key={each.id} class={each.id === conversation.id ? 'chosen' : ''}>
            <button
              type="button"
              class="quiet title"
              aria-current={each.id === conversation.id}
              disabled={isBusy}
              onClick={() => openConversation(each)}
            >
              {each.title}
            </button>
            <button
              type="button"
              class="quiet"
              aria-label={`Delete ${each.title}`}
              disabled={isBusy}
              onClick={() => void removeConversation(each)}
            >
              ×
            </button>
          </li>
        ))}
      </ul>
      <div class="actions">
        <button type="button" class="quiet" disabled={conversations.length === 0} onClick={exportAll}>
          Export
        </button>
        <label class="quiet button">
          Import
          <input type="file" accept="application/json,.json" onChange={read} />
        </label>
      </div>
      <p class="faint">Kept in this browser only.</p>
    </nav>
  );
}
