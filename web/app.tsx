// The page: a bar on top, the conversations on the left, the settings on the right, between them the chat or the model.
import type { VNode } from 'preact';
import { useEffect } from 'preact/hooks';
import { setSettings, stop } from './actions.ts';
import { Chat } from './chat.tsx';
import { ModelPage } from './model-page.tsx';
import { SettingsPanel } from './settings-panel.tsx';
import { Sidebar } from './sidebar.tsx';
import type { State } from './store.ts';
import { chosenModel, setState, useStore } from './store.ts';

export function App(): VNode {
  const state = useStore();
  useEffect(() => {
    const onKey = ({ key }: KeyboardEvent) => {
      if (key !== 'Escape') return;
      stop();
      setState({ opened: 'none' });
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, []);
  const model = chosenModel(state);
  return (
    <>
      <a class="skip" href="#content">
        Skip to the content
      </a>
      <Bar state={state} />
      <div class="columns">
        <Sidebar state={state} />
        <main id="content" tabIndex={-1}>
          {state.view === 'model' && model ? <ModelPage model={model.id} /> : <Chat state={state} />}
        </main>
        {state.view === 'chat' && <SettingsPanel state={state} />}
      </div>
    </>
  );
}

function Bar({ state }: { readonly state: State }): VNode {
  const { view, models, opened, writing } = state;
  return (
    <header>
      <Toggle name="history" opened={opened} />
      <h1>lfm</h1>
      <nav class="views" aria-label="Views">
        {(['chat', 'model'] as const).map((name) => (
          <button
            key={name}
            type="button"
            class="quiet"
            aria-current={view === name ? 'page' : undefined}
            onClick={() => setState({ view: name, opened: 'none' })}
          >
            {name === 'chat' ? 'Chat' : 'Model'}
          </button>
        ))}
      </nav>
      <div class="picker">
        <select
          aria-label="Model"
          value={chosenModel(state)?.id ?? ''}
          disabled={writing !== undefined}
          onChange={({ currentTarget }) => setSettings({ model: currentTarget.value })}
        >
          {models.map(({ id, parent }) => (
            <option key={id} value={id}>
              {parent ? `${id} (adapter of ${parent})` : id}
            </option>
          ))}
        </select>
      </div>
      {view === 'chat' && <Toggle name="settings" opened={opened} />}
    </header>
  );
}

interface ToggleProps {
  readonly name: 'history' | 'settings';
  readonly opened: State['opened'];
}

/** Opens what stands beside the conversation, or closes it. */
function Toggle({ name, opened }: ToggleProps): VNode {
  return (
    <button
      type="button"
      class="quiet toggle"
      aria-expanded={opened === name}
      aria-controls={name}
      onClick={() => setState({ opened: opened === name ? 'none' : name })}
    >
      {name === 'history' ? 'History' : 'Settings'}
    </button>
  );
}
