// lfm inspect: what a model is made of, and what it takes.
import type { Command } from 'commander';
import { openSource, resolveModel } from '../generate/source.node.ts';
import type { Model } from '../liquid/index.ts';
import { parameterCounts, stateBytes } from '../liquid/index.ts';
import { lfm2, modelFromConfig } from '../models/index.ts';
import { countOf } from '../tensor/index.ts';
import { formatBytes, formatCount, formatTable } from './format.node.ts';
import type { Io } from './io.node.ts';

/** Lengths at which the state is told, as far as the context reaches. */
const LENGTHS = [1, 1024, 4096, 8192, 16_384, 32_768, 65_536, 131_072];

export interface Inspection {
  readonly name: string;
  readonly architecture: unknown;
  readonly vocabulary: number;
  readonly hiddenSize: number;
  readonly contextLength: number;
  readonly parameters: number;
  /** Those that a token reads. */
  readonly activeParameters: number;
  /** Of one text, by its length in tokens; float32, as it runs here. */
  readonly stateBytes: Readonly<Record<string, number>>;
  readonly layers: readonly {
    readonly mixer: string;
    readonly mlp: string;
    readonly parameters: number;
    readonly states: readonly string[];
  }[];
}

export function registerInspect(program: Command, io: Io): void {
  program
    .command('inspect')
    .description('show the layers, parameters and state of a model')
    .argument('<model>', 'a shipped name, a folder, a GGUF file, or a definition such as lfm2-350m')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExamples:\n  lfm inspect lfm2-1.2b\n  lfm inspect ./mine --json')
    .action(async (name: string, { json }: { json?: boolean }) => {
      const found = await openDefinition(name);
      const inspection = inspect(found.name, found.model);
      io.stdout.write(json ? `${JSON.stringify(inspection, undefined, 2)}\n` : describe(inspection));
    });
}

/** The model that a name stands for; weights are not read. */
export async function openDefinition(name: string): Promise<{ name: string; model: Model }> {
  const resolved = await resolveModel(name);
  if (resolved.kind === 'definition') return { name, model: lfm2(resolved.config) };
  const { config, weights } = await openSource(name);
  await weights.close();
  return {
    name: resolved.name,
    model: modelFromConfig(config, Object.fromEntries([...weights.tensors].map(([key, { shape }]) => [key, shape]))),
  };
}

export function inspect(name: string, model: Model): Inspection {
  const { total, active } = parameterCounts(model);
  const lengths = [...LENGTHS.filter((length) => length < model.contextLength), model.contextLength];
  return {
    name,
    architecture: model.config?.['model_type'] ?? null,
    vocabulary: model.head.classes,
    hiddenSize: model.hiddenSize,
    contextLength: model.contextLength,
    parameters: total,
    activeParameters: active,
    stateBytes: Object.fromEntries(lengths.map((length) => [length, stateBytes(model, length, 'float32')])),
    layers: model.layers.map(({ mixer, mlp }, depth) => {
      const within = (key: string) => key.startsWith(`model.layers.${depth}.`);
      const shapes = Object.entries(model.parameters).filter(([key]) => within(key));
      const states = Object.entries(model.states).filter(([key]) => key.startsWith(`layers.${depth}.`));
      return {
        mixer: mixer.name,
        mlp: mlp.name,
        parameters: shapes.reduce((sum, [, { shape }]) => sum + countOf(shape), 0),
        states: states.map(
          ([key, { kind, shape }]) => `${key.slice(`layers.${depth}.`.length)}: ${kind} [${shape.join(', ')}]`,
        ),
      };
    }),
  };
}

function describe(found: Inspection): string {
  const { name, architecture, parameters, activeParameters, contextLength, hiddenSize, vocabulary, layers } = found;
  const facts = [
    ['architecture', String(architecture ?? 'of its own')],
    ['parameters', `${formatCount(parameters)} (${parameters})`],
    ['active for a token', `${formatCount(activeParameters)} (${activeParameters})`],
    ['hidden size', String(hiddenSize)],
    ['vocabulary', String(vocabulary)],
    ['context', `${contextLength} tokens`],
  ];
  const rows = layers.map(({ mixer, mlp, parameters: count, states }, depth) => [
    String(depth),
    mixer,
    mlp,
    formatCount(count),
    states.join('; '),
  ]);
  const state = Object.entries(found.stateBytes).map(([length, bytes]) => [length, formatBytes(bytes)]);
  return [
    `${name}\n`,
    ...facts.map(([key = '', value = '']) => `  ${key.padEnd(20)}${value}\n`),
    '\n',
    formatTable(['layer', 'mixer', 'mlp', 'parameters', 'state a text'], rows),
    '\n',
    formatTable(['tokens', 'state in float32'], state),
  ].join('');
}
