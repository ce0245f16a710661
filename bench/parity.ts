// npm run bench -- parity: every architecture's logits beside transformers', on tiny random weights that it saved.
import { parseArgs } from 'node:util';
import { openEngine } from '../src/engines/default.node.ts';
import { measureParity, parityNames } from '../src/generate/testing-parity.node.ts';
import { chosen } from './options.ts';

export async function benchParity(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      json: { type: 'boolean', default: false },
      engine: { type: 'string', default: 'onnx' },
      models: { type: 'string' },
    },
  });
  const engine = await openEngine({ name: values.engine });
  const rows = [];
  for (const name of chosen('model', values.models, await parityNames())) rows.push(await measureParity(engine, name));
  if (values.json) console.log(JSON.stringify({ benchmark: 'parity', engine: engine.description, rows }, undefined, 2));
  else {
    console.log(`${engine.description}; largest difference of a logit, as a share of their range`);
    const shown = (value: number) => value.toExponential(1);
    console.table(
      rows.map(({ name, architecture, parameters, tokens, ...found }) => ({
        fixture: name,
        architecture,
        parameters,
        sequence: shown(found.sequence),
        'token by token': shown(found.tokenByToken),
        'unequal batch': shown(found.unequalBatch),
        'tokens compared': tokens,
      })),
    );
  }
  await engine.close();
}
