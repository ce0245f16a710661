// lfm catalog: every definition by name, with what it takes.
import type { Command } from 'commander';
import { writeFileAtomic } from '../files/atomic.node.ts';
import type { Model } from '../liquid/index.ts';
import { formatLength, operatorMap, operatorsOf, parameterCounts, stateBytes } from '../liquid/index.ts';
import { catalogue } from '../models/catalogue.ts';
import { formatBytes, formatCount, formatTable } from './format.node.ts';
import type { Io } from './io.node.ts';

/** Tokens at which the state is told. */
const LENGTH = 32_768;

export function registerCatalog(program: Command, io: Io): void {
  program
    .command('catalog')
    .description('list the models that are defined, with and without published sizes')
    .option('--svg <file>', 'draw a map of the operators that models are made of into a file')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExamples:\n  lfm catalog\n  lfm catalog --svg operators.svg\n  lfm inspect lfm2-1.2b')
    .action(async ({ json, svg }: { json?: boolean; svg?: string }) => {
      if (svg !== undefined) {
        await writeFileAtomic(svg, operatorMap());
        io.stderr.write(`${svg} holds the map.\n`);
      }
      const found = Object.entries(catalogue).map(([name, { family, title, source, model: define }]) => {
        const model = define();
        const { total, active } = parameterCounts(model);
        return {
          name,
          family,
          title,
          source,
          parameters: total,
          activeParameters: active,
          layers: layersByKind(model),
          contextLength: model.contextLength,
          /** In bfloat16, of one sequence of 32,768 tokens. */
          stateBytes: stateBytes(model, LENGTH),
        };
      });
      if (json) {
        io.stdout.write(`${JSON.stringify(found, undefined, 2)}\n`);
        return;
      }
      const rows = found.map((one) => [
        one.name,
        one.family,
        formatCount(one.parameters),
        formatCount(one.activeParameters),
        Object.entries(one.layers)
          .map(([kind, count]) => `${count} ${kind}`)
          .join(', '),
        formatLength(one.contextLength),
        formatBytes(one.stateBytes),
        one.source,
      ]);
      const head = ['name', 'family', 'parameters', 'active', 'layers', 'context', 'state at 32k', 'sizes from'];
      io.stdout.write(
        `${formatTable(head, rows)}\nThese are definitions without weights: lfm inspect NAME tells more of one, lfm compare A B sets them side by side.\n`,
      );
    });
}

/** How many layers mix tokens in each way. */
function layersByKind({ layers }: Model): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const layer of layers) {
    const [mixer] = operatorsOf(layer);
    if (mixer) counts[mixer.name] = (counts[mixer.name] ?? 0) + 1;
  }
  return counts;
}
