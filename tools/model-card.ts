// Writes a shipped model's card and its table in README.md, from what was measured:
//   npm run -s bench -- distilled --teacher … --student weights/brook-123m … --json > measured.json   (--second: the same of a smaller student)
//   npx tsx --conditions=lfm-source tools/model-card.ts weights/brook-123m --results measured.json [--second half.json]
// The words are those of tools/model-card.md, where {{NAME}} stands for a figure or a table.
import { readFile, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import * as z from 'zod';
import { readJsonIfPresent } from '../src/files/json.node.ts';
import { openSource } from '../src/generate/source.node.ts';
import { definedModel } from '../src/generate/weights.ts';
import { ROOT } from '../test/root.ts';
import { writePart } from './marked.ts';

const schema = z.object({
  commit: z.string(),
  cpu: z.string(),
  cores: z.number(),
  command: z.string(),
  measuredOn: z.array(z.string()),
  rows: z.array(
    z.object({ measure: z.string(), teacher: z.string(), student: z.string(), ratio: z.string(), wanted: z.string() }),
  ),
});
type Measured = z.infer<typeof schema>;

/** The rows whose measure fits, with a column of a second student where there is one. */
function table({ rows }: Measured, second: Measured | undefined, fits: RegExp, student: string): string {
  const chosen = rows.filter(({ measure }) => fits.test(measure));
  if (chosen.length === 0) return 'Not measured.';
  const heads = [
    'measure',
    'teacher',
    student,
    'of the teacher',
    ...(second ? ['half its size', 'of the teacher'] : []),
  ];
  const lines = chosen.map(({ measure, ...row }) => {
    const other = second?.rows.find((one) => one.measure === measure);
    const more = second ? [other?.student ?? '-', other?.ratio ?? '-'] : [];
    return [measure, row.teacher, row.student, row.ratio, ...more];
  });
  return [heads, heads.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

const LANGUAGES = /^bits a byte/;
const COST = /^(decoding|state|file)/;
const SCORES = /^(?!bits a byte|decoding|state|file)/;

/** What a card tells of the folder itself. */
async function figuresOf(folder: string): Promise<Record<string, string>> {
  const source = await openSource(folder);
  const { model } = definedModel(source);
  await source.weights.close();
  const config = z
    .object({
      layer_types: z.array(z.string()),
      hidden_size: z.number(),
      intermediate_size: z.number(),
      vocab_size: z.number(),
    })
    .parse(source.config);
  const sampling = z
    .object({ temperature: z.number(), min_p: z.number(), repetition_penalty: z.number() })
    .parse(source.generationConfig);
  const count = Object.values(model.parameters).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const convolutions = config.layer_types.filter((type) => type === 'conv').length;
  const { size } = await stat(join(folder, 'model.safetensors'));
  return {
    name: basename(folder),
    parameters: count.toLocaleString('en'),
    layers: String(config.layer_types.length),
    convolutions: String(convolutions),
    attentions: String(config.layer_types.length - convolutions),
    hidden: String(config.hidden_size),
    intermediate: String(config.intermediate_size),
    vocabulary: config.vocab_size.toLocaleString('en'),
    sampling: `temperature ${sampling.temperature}, min-p ${sampling.min_p}, repetition penalty ${sampling.repetition_penalty}`,
    megabytes: (size / 1e6).toFixed(1),
  };
}

/** The table of the recipe's stages, as recipes/README.md has it. */
async function stages(): Promise<string> {
  const text = await readFile(join(ROOT, 'recipes/README.md'), 'utf8');
  const [found] = /^\| command \| tokens \| GPU minutes \|\n(\|.*\n)+/m.exec(text) ?? [];
  if (found === undefined) throw new Error('recipes/README.md: expected a table | command | tokens | GPU minutes |');
  return found.trim();
}

const { values, positionals } = parseArgs({
  options: { results: { type: 'string' }, second: { type: 'string' } },
  allowPositionals: true,
});
const [folder] = positionals;
if (folder === undefined || values.results === undefined)
  throw new Error('Usage: tools/model-card.ts FOLDER --results FILE [--second FILE]');
const measured = schema.parse(await readJsonIfPresent(values.results));
const second = values.second === undefined ? undefined : schema.parse(await readJsonIfPresent(values.second));
const figures = await figuresOf(folder);
const tableOf = (fits: RegExp) => table(measured, second, fits, figures['name'] ?? '');
const all: Record<string, string> = {
  ...figures,
  stages: await stages(),
  scores: tableOf(SCORES),
  languages: tableOf(LANGUAGES),
  cost: tableOf(COST),
  // Without the folders of the machine that it ran on.
  measured: `\`${measured.command.replaceAll(/\S*\/(?=[^\s/])/g, '')}\` at ${measured.commit}, on ${measured.measuredOn.join('; ')}; ${measured.cpu}, ${measured.cores} cores`,
};
const template = await readFile(join(ROOT, 'tools/model-card.md'), 'utf8');
const card = template.replaceAll(/\{\{(\w+)\}\}/g, (_, name: string) => {
  const value = all[name];
  if (value === undefined) throw new Error(`tools/model-card.md: there is no {{${name}}}`);
  return value;
});
await writeFile(join(folder, 'README.md'), card);
console.log(`${folder}/README.md written`);
await writePart(join(ROOT, 'README.md'), 'the shipped model', tableOf(/^(?!bits a byte)/));
