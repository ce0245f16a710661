// npm run bench -- mad: the six tasks of MAD for stacks of operators, trained on this machine, as a table of accuracies.
import { parseArgs } from 'node:util';
import { openEngine } from '../src/engines/default.node.ts';
import { madStacks } from '../src/evaluate/mad/models.ts';
import { runMad } from '../src/evaluate/mad/run.ts';
import { madTasks } from '../src/evaluate/mad/tasks.ts';
import { Random } from '../src/tensor/index.ts';
import { chosen, engineOf } from './options.ts';

const help = `npm run bench -- mad [--json] [--tasks A,B] [--models A,B] [--steps 600] [--batch 16] [--rate 0.004] [--examples 12800]
                   [--engine onnx] [--threads 2] [--seed 1]

Trains each stack on each task (hidden size 64, two blocks; a step has --batch * 128 tokens) and prints its accuracy on
new examples. Stacks: ${Object.keys(madStacks).join(', ')}.`;

export async function benchMad(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      json: { type: 'boolean', default: false },
      tasks: { type: 'string' },
      models: { type: 'string' },
      steps: { type: 'string', default: '600' },
      batch: { type: 'string', default: '16' },
      rate: { type: 'string', default: '0.004' },
      examples: { type: 'string', default: '12800' },
      engine: { type: 'string', default: 'onnx' },
      threads: { type: 'string', default: '2' },
      seed: { type: 'string', default: '1' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return console.log(help);
  const seed = Number(values.seed);
  const tasks = madTasks(new Random(seed));
  const names = chosen(
    'task',
    values.tasks,
    tasks.map(({ name }) => name),
  );
  const models = chosen('model', values.models, Object.keys(madStacks));
  const engine = await openEngine(engineOf(values));
  const rows = [];
  for (const model of models) {
    const row: Record<string, string | number> = { model };
    for (const task of tasks.filter(({ name }) => names.includes(name))) {
      const { accuracy, seconds, parameters } = await runMad(task, madStacks[model] ?? [], {
        engine,
        examples: Number(values.examples),
        testExamples: 256,
        batch: Number(values.batch),
        learningRate: Number(values.rate),
        steps: Number(values.steps),
        seed,
      });
      row[task.name] = Number((100 * accuracy).toFixed(1));
      if (!values.json)
        console.error(`${model}, ${task.name}: ${row[task.name]}%, ${parameters} parameters, ${seconds.toFixed(0)} s`);
    }
    rows.push(row);
  }
  if (values.json) console.log(JSON.stringify({ ...values, engine: engine.description, rows }, undefined, 2));
  else console.table(rows);
  await engine.close();
}
