// lfm convert: a model in another format: GGUF, a folder of safetensors, ONNX, or its programs as StableHLO text.
import { stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { InvalidArgumentError, Option } from 'commander';
import type { GgufWriteType } from '../files/gguf-quantise.ts';
import { convertToFolder } from '../generate/convert-folder.node.ts';
import type { Converted } from '../generate/convert-gguf.node.ts';
import { convertToGguf } from '../generate/convert-gguf.node.ts';
import type { OnnxType } from '../generate/convert-onnx.node.ts';
import { convertToOnnx } from '../generate/convert-onnx.node.ts';
import type { ConvertOptions, FloatType } from '../generate/convert.ts';
import { openSource } from '../generate/source.node.ts';
import type { ModelSource } from '../generate/source.ts';
import { LfmError } from '../tensor/index.ts';
import { formatBytes } from './format.node.ts';
import { asFloats } from '../liquid/index.ts';
import { openDefinition } from './inspect.node.ts';
import type { Io } from './io.node.ts';
import { interruptible } from './io.node.ts';
import { positive } from './options.node.ts';
import { Progress } from './progress.node.ts';
import { writePrograms } from './stablehlo.node.ts';

interface Flags {
  readonly to: 'gguf' | 'safetensors' | 'onnx' | 'stablehlo';
  readonly out: string;
  readonly dtype?: string;
  readonly maxShard?: number;
  readonly force?: boolean;
  readonly batch: number;
  readonly length: number;
  readonly capacity?: number;
  readonly json?: boolean;
}

/** What --dtype stands for in each format; a format takes those that it has. */
const types: Readonly<
  Record<
    string,
    {
      gguf?: GgufWriteType;
      safetensors?: FloatType;
      onnx?: OnnxType;
      stablehlo?: 'float32' | 'bfloat16';
    }
  >
> = {
  f32: { gguf: 'F32', safetensors: 'float32', onnx: 'float32', stablehlo: 'float32' },
  f16: { gguf: 'F16', safetensors: 'float16', onnx: 'float16' },
  bf16: { gguf: 'BF16', safetensors: 'bfloat16', stablehlo: 'bfloat16' },
  q8_0: { gguf: 'Q8_0' },
  q4_0: { gguf: 'Q4_0' },
  int8: { onnx: 'int8' },
  int4: { onnx: 'int4' },
};
const synonyms: Readonly<Record<string, string>> = { float32: 'f32', float16: 'f16', bfloat16: 'bf16' };

const helpText = `
  gguf         one file, --out NAME.gguf, that llama.cpp loads, tokenizer and chat template included
  safetensors  a folder that transformers and vLLM load
  onnx         a folder with a graph that a plain ONNX Runtime runs: token ids and past state in, logits and present state
               out (docs/onnx.md); f32, which is its default, f16, int8 or int4
  stablehlo    prefill.mlir, decode.mlir and training-step.mlir, which hold no weights, and programs.json, which names
               their inputs and outputs in order

A tensor is in memory at a time. Without --dtype each tensor keeps its type (float32 where it is quantised); with q8_0 and
q4_0 norms and convolutions stay float32, and with q4_0 the vocabulary's tables are q8_0.

Examples:
  lfm convert ./mine --to gguf --dtype q8_0 --out mine.gguf
  lfm convert SmolLM2-135M-Instruct.Q4_1.gguf --to safetensors --dtype bf16 --out smollm2
  lfm convert brook-7m --to onnx --dtype int4 --out brook-onnx
  lfm convert lfm2-350m --to stablehlo --out lfm2-text`;

/** Adds `lfm convert`. */
export function registerConvert(program: Command, io: Io): void {
  program
    .command('convert')
    .description('write a model in another format')
    .argument('<model>', 'a shipped name, a folder or a GGUF file; for stablehlo also a definition such as lfm2-350m')
    .addOption(
      new Option('--to <format>', 'what to write')
        .choices(['gguf', 'safetensors', 'onnx', 'stablehlo'])
        .makeOptionMandatory(),
    )
    .requiredOption('--out <path>', 'the file or folder to write')
    .addOption(
      new Option('--dtype <type>', `element type: ${Object.keys(types).join(', ')}`).argParser((text: string) => {
        const name = synonyms[text] ?? text;
        if (Object.hasOwn(types, name)) return name;
        throw new InvalidArgumentError(`Expected one of ${Object.keys(types).join(', ')}.`);
      }),
    )
    .option('--max-shard <size>', 'safetensors: most bytes a file, such as 500MB (default: 5GB)', byteCount)
    .option('--force', 'replace what stands at --out')
    .option('--batch <n>', 'stablehlo: rows of each program', positive, 1)
    .option('--length <n>', 'stablehlo: tokens a row of prefill and training', positive, 512)
    .option('--capacity <n>', 'stablehlo: most tokens a row (default: 4096, or the model’s context)', positive)
    .option('--json', 'print JSON')
    .addHelpText('after', helpText)
    .action(async (name: string, flags: Flags) => {
      if (flags.to === 'stablehlo') return convertPrograms(io, name, flags);
      const done = await convertWeights(io, name, flags);
      io.stdout.write(
        flags.json
          ? `${JSON.stringify(done, undefined, 2)}\n`
          : `${done.path}: ${done.tensors} tensors, ${done.dtype}, ${formatBytes(done.bytes)}\n`,
      );
    });
}

async function convertWeights(io: Io, name: string, flags: Flags): Promise<Converted> {
  const { to, out, dtype, force = false } = flags;
  const type = dtype === undefined ? undefined : types[dtype];
  if (to === 'gguf' && !/\.gguf$/i.test(out))
    throw new LfmError('bad-out', `--out ${out}: expected the name of a file that ends in .gguf.`);
  if (to === 'safetensors' && type && !type.safetensors)
    throw new LfmError(
      'bad-dtype',
      `--dtype ${dtype}: safetensors takes f32, f16 and bf16; use --to gguf for ${dtype}.`,
    );
  if (to === 'onnx' && type && !type.onnx)
    throw new LfmError('bad-dtype', `--dtype ${dtype}: onnx takes f32, f16, int8 and int4.`);
  if (to === 'gguf' && type && !type.gguf)
    throw new LfmError('bad-dtype', `--dtype ${dtype}: gguf takes f32, f16, bf16, q8_0 and q4_0.`);
  if (!force && (await stat(out).catch(() => undefined)))
    throw new LfmError('output-exists', `${out} exists already: choose another --out, or add --force to replace it.`);
  return interruptible(io, async (signal) => {
    const progress = new Progress(io.stderr, `Writing ${out}`);
    const source = await openSource(name);
    const options = { signal, onProgress: ({ done, total }) => progress.update(done / total) } satisfies ConvertOptions;
    try {
      return await write(source, flags, type, options);
    } finally {
      progress.end();
      await source.weights.close();
    }
  });
}

function write(
  source: ModelSource,
  { to, out, maxShard }: Flags,
  type: (typeof types)[string] | undefined,
  options: ConvertOptions,
): Promise<Converted> {
  if (to === 'gguf') return convertToGguf(source, out, { ...options, type: type?.gguf });
  if (to === 'onnx') return convertToOnnx(source, out, { ...options, type: type?.onnx });
  return convertToFolder(source, out, { ...options, type: type?.safetensors, maxShardBytes: maxShard });
}

async function convertPrograms(io: Io, name: string, { out, dtype: asked = 'f32', json, ...flags }: Flags) {
  const dtype = types[asked]?.stablehlo;
  if (!dtype) throw new LfmError('bad-dtype', `--dtype ${asked}: stablehlo takes f32 and bf16.`);
  const { model: held } = await openDefinition(name);
  const model = asFloats(held);
  const { batch, length } = flags;
  const capacity = flags.capacity ?? Math.max(length, Math.min(4096, model.contextLength));
  if (capacity < length)
    throw new LfmError(
      'bad-capacity',
      `A row of ${length} tokens does not fit a --capacity of ${capacity}: give at least as many.`,
    );
  const files = await writePrograms(out, name, model, { batch, length, capacity, dtype });
  io.stdout.write(json ? `${JSON.stringify(files, undefined, 2)}\n` : files.map((file) => `${file}\n`).join(''));
}

function byteCount(text: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)\s*([kMG]?B?)$/.exec(text) ?? [];
  const bytes = Number(number) * ({ k: 1e3, M: 1e6, G: 1e9 }[unit.slice(0, 1)] ?? 1);
  if (bytes >= 1 && Number.isFinite(bytes)) return Math.floor(bytes);
  throw new InvalidArgumentError('Expected a size such as 500MB.');
}
