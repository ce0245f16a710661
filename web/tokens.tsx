// An answer token by token: the shade tells how likely each was, and the one that is pointed at shows what else was likely.
import type { VNode } from 'preact';
import { useId, useState } from 'preact/hooks';
import type { Chance } from './source.ts';

export function percent(logprob: number): string {
  const share = 100 * Math.exp(logprob);
  return share >= 99.95 ? '100%' : share < 0.1 ? '<0.1%' : `${share.toFixed(1)}%`;
}

/** Spaces and line breaks as one can see them. */
function visible(text: string): string {
  return text === '' ? '(nothing)' : text.replaceAll('\n', '↵').replaceAll(/^ | $/g, '␣');
}

/** Five shades: near certain, likely, even, unlikely, surprising. */
function shadeOf(logprob: number): number {
  const share = Math.exp(logprob);
  return [0.8, 0.5, 0.2, 0.05].filter((limit) => share < limit).length;
}

/** One stop of the Tab key; arrows, Home and End move among the tokens. */
export function TokenView({ chances }: { readonly chances: readonly Chance[] }): VNode {
  const id = useId();
  const [at, setAt] = useState(0);
  const move = (event: KeyboardEvent) => {
    const moves: Readonly<Record<string, number>> = {
      ArrowRight: at + 1,
      ArrowDown: at + 1,
      ArrowLeft: at - 1,
      ArrowUp: at - 1,
      Home: 0,
      End: chances.length - 1,
    };
    const to = moves[event.key];
    if (to === undefined) return;
    event.preventDefault();
    setAt(Math.max(0, Math.min(chances.length - 1, to)));
  };
  const chance = chances[at];
  return (
    <div class="tokens">
      <div
        class="text"
        role="listbox"
        tabIndex={0}
        aria-label="Tokens; arrow keys move among them"
        aria-activedescendant={`${id}-${at}`}
        aria-describedby={`${id}-others`}
        onKeyDown={move}
      >
        {chances.map(({ text, logprob }, index) => (
          <span
            key={index}
            id={`${id}-${index}`}
            role="option"
            aria-selected={index === at}
            aria-label={`${visible(text)}, ${percent(logprob)}`}
            class={`token shade-${shadeOf(logprob)}`}
            onMouseEnter={() => setAt(index)}
            onClick={() => setAt(index)}
          >
            {text === '' ? '·' : text.replaceAll('\n', '↵\n')}
          </span>
        ))}
      </div>
      {chance && <Others id={`${id}-others`} chance={chance} position={`${at + 1} of ${chances.length}`} />}
    </div>
  );
}

function Others({
  id,
  chance,
  position,
}: {
  readonly id: string;
  readonly chance: Chance;
  readonly position: string;
}): VNode {
  const { text, logprob, others } = chance;
  const all = others.some((other) => other.text === text) ? others : [...others, { text, logprob }];
  return (
    <table class="others" id={id}>
      <caption>
        Token {position}: <code>{visible(text)}</code> had {percent(logprob)}
      </caption>
      <thead class="hidden">
        <tr>
          <th scope="col">token</th>
          <th scope="col">probability</th>
        </tr>
      </thead>
      <tbody>
        {all.map((other) => (
          <tr key={other.text} class={other.text === text ? 'chosen' : ''}>
            <th scope="row">
              <code>{visible(other.text)}</code>
            </th>
            <td>
              <span class="bar" aria-hidden="true" style={{ width: `${60 * Math.exp(other.logprob)}%` }} />
              {percent(other.logprob)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
