// lfm inspect: what a model is made of, and what it takes.
import type { Command } from 'commander';
import { writeFileAtomic } from '../files/atomic.node.ts';
import { openSource, resolveModel } from '../generate/source.node.ts';
import type { Device, Link, Memory, Model, RunType, Speed } from '../liquid/index.ts';
import {
  decodeFlops,
  formatLength,
  genomeOf,
  layerStack,
  memoryAt,
  nameOf,
  operatorsOf,
  parameterCounts,
  prefillFlops,
  printGenome,
  speedOn,
  stateBytes,
} from '../liquid/index.ts';
import { modelFromConfig, parametersOf } from '../models/index.ts';
import { countOf, LfmError } from '../tensor/index.ts';
import { deviceOption, dtypeOption } from './costs.node.ts';
import { formatBytes, formatCount, formatDuration, formatTable } from './format.node.ts';
import type { Io } from './io.node.ts';

/** Lengths at which the state is told, as far as the context reaches. */
const LENGTHS = [1, 1024, 4096, 8192, 16_384, 32_768, 65_536, 131_072];

export interface Inspection {
  readonly name: string;
  readonly architecture: unknown;
  /** Where a genome says all that its layers are. */
  readonly genome?: string;
  readonly vocabulary: number;
  readonly hiddenSize: number;
  readonly contextLength: number;
  readonly parameters: number;
  /** Those that a token reads. */
  readonly activeParameters: number;
  /** Of one text, by its length in tokens; float32, as it runs here. */
  readonly stateBytes: Readonly<Record<string, number>>;
  /** Floating-point operations by length: of a prompt taken in at once, of the token after as many. */
  readonly flops: Readonly<Record<string, { readonly prefill: number; readonly decode: number }>>;
  /** Bytes for one text by its length, in the element type asked for. */
  readonly memory: Readonly<Record<string, Memory>>;
  /** The least seconds on the device asked for, by length. */
  readonly speed?: Readonly<Record<string, Speed>>;
  readonly layers: readonly {
    readonly operators: readonly string[];
    /** What its operators have of those at earlier depths. */
    readonly links: readonly string[];
    readonly parameters: number;
    readonly states: readonly string[];
  }[];
}

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

/** The model that a name stands for, and a line about what its files hold besides; weights are not read. */
export async function openDefinition(name: string): Promise<{ name: string; model: Model; notice?: string }> {
  const resolved = await resolveModel(name);
  if (resolved.kind === 'definition') return { name, model: resolved.entry.model() };
  const { config, weights } = await openSource(name);
  await weights.close();
  const shapes = Object.fromEntries([...weights.tensors].map(([key, { shape }]) => [key, shape]));
  const model = modelFromConfig(config, shapes);
  const { notice } = parametersOf(model, config, weights, resolved.name);
  return { name: resolved.name, model, ...(notice !== undefined && { notice }) };
}

export function inspect(name: string, model: Model, { device, dtype }: Flags): Inspection {
  const { total, active } = parameterCounts(model);
  const genome = genomeTextOf(model);
  const lengths = [...LENGTHS.filter((length) => length < model.contextLength), model.contextLength];
  const at = <T>(cost: (length: number) => T): Readonly<Record<string, T>> =>
    Object.fromEntries(lengths.map((length) => [length, cost(length)]));
  return {
    name,
    architecture: model.config?.['model_type'] ?? null,
    ...(genome !== undefined && { genome }),
    vocabulary: model.head.classes,
    hiddenSize: model.hiddenSize,
    contextLength: model.contextLength,
    parameters: total,
    activeParameters: active,
    stateBytes: at((length) => stateBytes(model, length, 'float32')),
    flops: at((length) => ({ prefill: prefillFlops(model, length), decode: decodeFlops(model, length) })),
    memory: at((length) => memoryAt(model, length, { dtype })),
    ...(device && { speed: at((length) => speedOn(model, device, length, { dtype })) }),
    layers: model.layers.map((layer, depth) => {
      const within = (key: string) => key.startsWith(`model.layers.${depth}.`);
      const shapes = Object.entries(model.parameters).filter(([key]) => within(key));
      const states = Object.entries(model.states).filter(([key]) => key.startsWith(`layers.${depth}.`));
      return {
        operators: operatorsOf(layer).map(nameOf),
        links: model.links.filter((link) => link.depth === depth).map(describeLink),
        parameters: shapes.reduce((sum, [, { shape }]) => sum + countOf(shape), 0),
        states: states.map(
          ([key, { kind, shape }]) => `${key.slice(`layers.${depth}.`.length)}: ${kind} [${shape.join(', ')}]`,
        ),
      };
    }),
  };
}

function genomeTextOf(model: Model): string | undefined {
  try {
    return printGenome(genomeOf(model).genome);
  } catch (error) {
    if (error instanceof LfmError && error.code === 'no-genome') return undefined;
    throw error;
  }
}

function describeLink({ kind, operator, leader, names }: Link): string {
  return `${operator}: ${kind === 'weights' ? 'weights' : names.join(', ')} of layer ${leader}`;
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
