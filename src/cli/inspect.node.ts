// lfm inspect: what a model is made of, and what it takes.
import type { Command } from 'commander';
import { writeFileAtomic } from '../files/atomic.node.ts';
import { openSource, resolveModel } from '../generate/source.node.ts';
import { heldModel } from '../generate/weights.ts';
import type { Device, Inspection, Model, RunType } from '../liquid/index.ts';
import { formatLength, inspect, layerStack } from '../liquid/index.ts';
import { deviceOption, dtypeOption } from './costs.node.ts';
import { formatBytes, formatCount, formatDuration, formatTable } from './format.node.ts';
import type { Io } from './io.node.ts';

interface Flags {
  readonly device?: Device;
  readonly dtype: RunType;
  readonly svg?: string;
  readonly json?: boolean;
}

export function registerInspect(program: Command, io: Io): void {
  program
    .command('inspect')
    .description('show the layers, parameters and state of a model')
    .argument('<model>', 'a shipped name, a folder, a GGUF file, a definition such as lfm2-350m, or genome:GENES')
    .addOption(deviceOption())
    .addOption(dtypeOption())
    .option('--svg <file>', 'draw the layers into a file')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  lfm inspect lfm2-1.2b\n  lfm inspect lfm2-1.2b --device raspberry-pi-5\n  lfm inspect ./mine --json\n  lfm inspect genome:71111-91111-31111-91111,hiddenSize=512',
    )
    .action(async (name: string, flags: Flags) => {
      const found = await openDefinition(name);
      if (flags.svg !== undefined) {
        await writeFileAtomic(flags.svg, layerStack(found.name, found.model));
        io.stderr.write(`${flags.svg} holds the layers.\n`);
      }
      if (found.notice !== undefined) io.stderr.write(`${found.notice}\n`);
      const inspection = inspect(found.name, found.model, flags);
      io.stdout.write(flags.json ? `${JSON.stringify(inspection, undefined, 2)}\n` : describe(inspection, flags.dtype));
    });
}

/** The model that a name stands for, its weights as they are held here, packed or not, and a line about what its files hold besides; weights are not read. */
export async function openDefinition(name: string): Promise<{ name: string; model: Model; notice?: string }> {
  const resolved = await resolveModel(name);
  if (resolved.kind === 'definition') return { name, model: resolved.entry.model() };
  const source = await openSource(name);
  await source.weights.close();
  const { model, parameters } = heldModel({ ...source, name: resolved.name }, 'stable');
  const { notice } = parameters;
  return { name: resolved.name, model, ...(notice !== undefined && { notice }) };
}

function describe(found: Inspection, dtype: RunType): string {
  const { name, architecture, parameters, activeParameters, contextLength, hiddenSize, vocabulary, layers } = found;
  const facts = [
    ['architecture', String(architecture ?? 'of its own')],
    ...(found.genome === undefined ? [] : [['genome', found.genome]]),
    ['parameters', `${formatCount(parameters)} (${parameters})`],
    ['active for a token', `${formatCount(activeParameters)} (${activeParameters})`],
    ['hidden size', String(hiddenSize)],
    ['vocabulary', String(vocabulary)],
    ['context', `${contextLength} tokens`],
  ];
  const rows = layers.map(({ operators, links, parameters: count, states }, depth) => [
    String(depth),
    operators.join(', '),
    formatCount(count),
    [...states, ...links].join('; '),
  ]);
  const state = Object.entries(found.stateBytes).map(([length, bytes]) => {
    const [flops, memory, speed] = [found.flops[length], found.memory[length], found.speed?.[length]];
    return [
      formatLength(Number(length)),
      formatBytes(bytes),
      formatBytes(memory?.state ?? 0),
      formatBytes(memory?.activations ?? 0),
      formatBytes(memory?.total ?? 0),
      formatCount(flops?.prefill ?? 0),
      formatCount(flops?.decode ?? 0),
      ...(speed ? [formatDuration(speed.firstToken), formatDuration(speed.token), speed.fits ? 'yes' : 'no'] : []),
    ];
  });
  const head = ['tokens', 'state in float32', `in ${dtype}`, 'activations', 'with weights', 'FLOPs prefill', 'a token'];
  const device = found.speed ? ['first token from', 'then a token from', 'fits'] : [];
  return [
    `${name}\n`,
    ...facts.map(([key = '', value = '']) => `  ${key.padEnd(20)}${value}\n`),
    '\n',
    formatTable(['layer', 'operators', 'parameters', 'state a text, and what is shared'], rows),
    '\n',
    formatTable([...head, ...device], state),
  ].join('');
}
