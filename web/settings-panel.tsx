// The panel beside the conversation: how answers are made. What is left empty is the model's own.
// The boxes keep what is typed themselves (`defaultValue`): the page is drawn again while one types.
import type { VNode } from 'preact';
import { setKey, setPlace, setSettings, setSystem } from './actions.ts';
import { apiKey } from './settings.ts';
import type { Sampling } from './source.ts';
import type { State } from './store.ts';
import { chosenModel, modeOf } from './store.ts';

const numbers: readonly {
  readonly key: keyof Sampling;
  readonly name: string;
  readonly help: string;
  readonly min: number;
  readonly max?: number;
  readonly step: number;
}[] = [
  { key: 'maxTokens', name: 'Most tokens', help: 'of one answer', min: 1, step: 1 },
  { key: 'temperature', name: 'Temperature', help: '0: always the likeliest', min: 0, max: 2, step: 0.1 },
  { key: 'topP', name: 'Top p', help: 'the likeliest tokens up to this probability', min: 0, max: 1, step: 0.05 },
  { key: 'topK', name: 'Top k', help: 'the k likeliest tokens', min: 0, step: 1 },
  { key: 'minP', name: 'Min p', help: 'this share of the likeliest one’s probability', min: 0, max: 1, step: 0.01 },
  {
    key: 'repetitionPenalty',
    name: 'Repetition penalty',
    help: 'above 1: repeats become less likely',
    min: 0.1,
    max: 10,
    step: 0.05,
  },
  { key: 'seed', name: 'Seed', help: 'the same one gives the same text', min: 0, step: 1 },
];

const places = [
  ['server', 'this machine’s server'],
  ['tab', 'this tab'],
] as const;

const engines = [
  ['auto', 'the GPU, where there is one'],
  ['webgpu', 'the GPU (WebGPU)'],
  ['wasm', 'the processor (WebAssembly)'],
] as const;

export function SettingsPanel({ state }: { readonly state: State }): VNode {
  const { settings, conversation, opened, writing } = state;
  const chosen = chosenModel(state);
  const chats = chosen?.chats !== false;
  const isChat = modeOf(state) === 'chat';
  return (
    <aside id="settings" class={opened === 'settings' ? 'settings open' : 'settings'} aria-label="Settings">
      <fieldset class="modes">
        <legend>Runs in</legend>
        {places.map(([place, name]) => (
          <label key={place}>
            <input
              type="radio"
              name="place"
              checked={settings.place === place}
              disabled={writing !== undefined}
              onChange={() => void setPlace({ place })}
            />{' '}
            {name}
          </label>
        ))}
        {settings.place === 'tab' && (
          <label>
            On
            <select
              aria-label="Runs on"
              value={settings.engine}
              disabled={writing !== undefined}
              onChange={({ currentTarget }) =>
                void setPlace({ engine: engines.find(([engine]) => engine === currentTarget.value)?.[0] ?? 'auto' })
              }
            >
              {engines.map(([engine, name]) => (
                <option key={engine} value={engine}>
                  {name}
                </option>
              ))}
            </select>
          </label>
        )}
        {chosen?.engine !== undefined && <p class="faint">Now: {chosen.engine}</p>}
      </fieldset>
      <fieldset class="modes">
        <legend>Mode</legend>
        <label>
          <input
            type="radio"
            name="mode"
            checked={isChat}
            disabled={!chats}
            onChange={() => setSettings({ mode: 'chat' })}
          />{' '}
          Chat
        </label>
        <label>
          <input type="radio" name="mode" checked={!isChat} onChange={() => setSettings({ mode: 'continue' })} />{' '}
          Continue a text
        </label>
        {!chats && <p class="faint">This model has no chat template.</p>}
      </fieldset>
      <label class="check">
        <input
          type="checkbox"
          checked={settings.probabilities}
          onChange={({ currentTarget }) => setSettings({ probabilities: currentTarget.checked })}
        />{' '}
        Show tokens and their probabilities
      </label>
      {isChat && (
        <label>
          System prompt
          <textarea
            rows={3}
            key={conversation.id}
            defaultValue={conversation.system}
            placeholder="What the model is told before all else"
            onInput={({ currentTarget }) => setSystem(currentTarget.value)}
          />
        </label>
      )}
      <fieldset class="sampling">
        <legend>Sampling</legend>
        {numbers.map(({ key, name, help, ...range }) => (
          <label key={key} title={help}>
            {name}
            <input
              type="number"
              {...range}
              defaultValue={settings.sampling[key] ?? ''}
              placeholder="model’s own"
              onInput={({ currentTarget }) => setSampling(settings.sampling, key, currentTarget)}
            />
          </label>
        ))}
      </fieldset>
      {isChat && (
        <>
          <JsonBox
            name="JSON schema"
            value={settings.schema}
            placeholder='{"type": "object", …}'
            help="The answer must match it."
            set={(schema) => setSettings({ schema })}
          />
          <JsonBox
            name="Tools"
            value={settings.tools}
            placeholder='[{"type": "function", "function": {"name": …}}]'
            help="Functions the model may call. You give their results."
            set={(tools) => setSettings({ tools })}
          />
        </>
      )}
      <label>
        API key
        <input
          type="password"
          autocomplete="off"
          defaultValue={apiKey.get()}
          placeholder="if the server asks for one"
          onChange={({ currentTarget }) => void setKey(currentTarget.value)}
        />
      </label>
    </aside>
  );
}

/** A number that the box itself says is out of range stays in the box, and counts as none. */
function setSampling(sampling: Sampling, key: keyof Sampling, box: HTMLInputElement): void {
  const { [key]: _, ...rest } = sampling;
  const isGiven = box.value !== '' && box.validity.valid;
  setSettings({ sampling: isGiven ? { ...rest, [key]: box.valueAsNumber } : rest });
}

interface BoxProps {
  readonly name: string;
  readonly value: string;
  readonly placeholder: string;
  readonly help: string;
  readonly set: (text: string) => void;
}

function JsonBox({ name, value, placeholder, help, set }: BoxProps): VNode {
  return (
    <label>
      {name}
      <textarea
        class="code"
        rows={3}
        spellcheck={false}
        defaultValue={value}
        placeholder={placeholder}
        onInput={({ currentTarget }) => set(currentTarget.value)}
      />
      <span class="faint">{help}</span>
    </label>
  );
}
