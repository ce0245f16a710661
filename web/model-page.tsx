// A model drawn: its layers, what of a text it remembers, and the memory that takes.
import type { ComponentChildren, VNode } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { ModelReport } from '../src/serve/inspect.ts';
import { inspect } from './actions.ts';

export function ModelPage({ model }: { readonly model: string }): VNode {
  const [report, setReport] = useState<ModelReport>();
  const [error, setError] = useState('');
  useEffect(() => {
    // An answer that comes after another model was chosen is not shown.
    let isWanted = true;
    setReport(undefined);
    setError('');
    inspect(model).then(
      (found) => isWanted && setReport(found),
      (cause: unknown) => isWanted && setError(cause instanceof Error ? cause.message : String(cause)),
    );
    return () => void (isWanted = false);
  }, [model]);
  return (
    <div class="model" tabIndex={0} role="region" aria-label="The model">
      <div class="column">
        <h2>{model}</h2>
        {error !== '' && (
          <p class="error" role="alert">
            {error}
          </p>
        )}
        {!report && error === '' && <p role="status">Drawing the model…</p>}
        {report && <Report report={report} />}
      </div>
    </div>
  );
}

function Report({ report }: { readonly report: ModelReport }): VNode {
  const { parameters, activeParameters, hiddenSize, vocabulary, contextLength, engine, weightBytes, pictures } = report;
  const facts = [
    ['architecture', String(report.architecture ?? 'of its own')],
    ['parameters', parameters.toLocaleString('en')],
    ...(activeParameters === parameters ? [] : [['read for a token', activeParameters.toLocaleString('en')]]),
    ['hidden size', String(hiddenSize)],
    ['vocabulary', vocabulary.toLocaleString('en')],
    ['context', `${contextLength.toLocaleString('en')} tokens`],
    ['weights in memory', bytes(weightBytes)],
    ['engine', engine],
  ];
  return (
    <>
      <dl class="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <h3>Layers</h3>
      <Picture
        name="Layers"
        svg={pictures.layers}
        alt={`The layers of ${report.name} in order; the table below says the same in words.`}
      />
      <LayerTable layers={report.layers} />
      <h3>State</h3>
      <p>
        What it keeps of a text while it writes: a convolution’s and a recurrence’s share is fixed, attention’s grows
        with the text.
      </p>
      <Picture
        name="State"
        svg={pictures.state}
        alt="Bytes of state against the length of the text; the table below holds the figures."
      />
      <h3>Memory</h3>
      <Picture
        name="Memory"
        svg={pictures.memory}
        alt="Memory for one text against its length; the table below holds the figures."
      />
      <MemoryTable report={report} />
    </>
  );
}

/** As an image: what stands in it cannot reach the page. Wider than a phone, it scrolls. */
function Picture({ name, svg, alt }: Record<'name' | 'svg' | 'alt', string>): VNode {
  return (
    <div class={`wide picture ${name.toLowerCase()}`} tabIndex={0} role="region" aria-label={`Picture: ${name}`}>
      <img src={`data:image/svg+xml,${encodeURIComponent(svg)}`} alt={alt} />
    </div>
  );
}

function LayerTable({ layers }: { readonly layers: ModelReport['layers'] }): VNode {
  return (
    <details>
      <summary>The layers in words</summary>
      <Table label="Layers" columns={['layer', 'operators', 'parameters', 'state, and what is shared']}>
        {layers.map(({ operators, parameters, states, links }, depth) => (
          <tr key={depth}>
            <th scope="row">{depth}</th>
            <td>{operators.join(', ')}</td>
            <td>{parameters.toLocaleString('en')}</td>
            <td>{[...states, ...links].join('; ')}</td>
          </tr>
        ))}
      </Table>
    </details>
  );
}

function MemoryTable({ report: { memory } }: { readonly report: ModelReport }): VNode {
  return (
    <Table label="Memory by length" columns={['tokens', 'state', 'activations', 'in all, with weights']}>
      {Object.entries(memory).map(([length, { state, activations, total }]) => (
        <tr key={length}>
          <th scope="row">{Number(length).toLocaleString('en')}</th>
          <td>{bytes(state)}</td>
          <td>{bytes(activations)}</td>
          <td>{bytes(total)}</td>
        </tr>
      ))}
    </Table>
  );
}

interface TableProps {
  readonly label: string;
  readonly columns: readonly string[];
  readonly children: ComponentChildren;
}

/** It scrolls where the page is narrower. */
function Table({ label, columns, children }: TableProps): VNode {
  return (
    <div class="wide" tabIndex={0} role="region" aria-label={label}>
      <table>
        <thead>
          <tr>
            {columns.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

function bytes(count: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, count)) / 10)));
  return `${Number((count / 1024 ** power).toPrecision(3))} ${units[power]}`;
}
