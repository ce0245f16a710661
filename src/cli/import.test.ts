// Operators from outside: a folder never brings its own code, a module named on the command line or a value does.
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../../test/root.ts';
import { load } from '../generate/load.ts';
import type { OperatorConstructor } from '../liquid/index.ts';
import { attention, defineModel, isOperatorConstructor, layer, swiglu } from '../liquid/index.ts';
import { grammarText } from '../train/testing.node.ts';
import { text, train } from '../train/train.node.ts';
import { main } from './program.node.ts';

const file = join(ROOT, 'test/fixtures/operators/blend.js');

let folder: string;
let mine: string;
let blend: OperatorConstructor;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lfm-import-'));
  mine = join(folder, 'mine');
  await writeFile(join(folder, 'text.txt'), grammarText(4000));
  const module: Readonly<Record<string, unknown>> = await import(file);
  if (!isOperatorConstructor(module['blend'])) throw new Error('the fixture exports no operator');
  ({ blend } = module as { blend: OperatorConstructor });
  const mlp = swiglu({ intermediateSize: 16 });
  const layers = [layer(blend(), mlp), layer(attention({ heads: 2, window: 6 }), mlp)];
  const model = defineModel({ vocabSize: 280, hiddenSize: 16, layers, contextLength: 64 });
  const options = {
    data: text(join(folder, 'text.txt')),
    steps: 2,
    learningRate: 0.01,
    batch: { size: 2, length: 16 },
  };
  await (await train(model, options)).save(mine);
});
afterAll(() => rm(folder, { recursive: true }));

async function run(...argv: string[]) {
  const stream = () => new PassThrough();
  const [stdin, stdout, stderr] = [stream(), stream(), stream()];
  const said = { out: '', err: '' };
  stdout.on('data', (chunk) => (said.out += String(chunk)));
  stderr.on('data', (chunk) => (said.err += String(chunk)));
  const code = await main(argv, { stdin, stdout, stderr, onInterrupt: () => () => {} });
  return { code, ...said };
}

// In this order: what a command line imports stays known in the process.
describe('a model with an operator of its own', () => {
  it('is written by name and options', async () => {
    const config = JSON.parse(await readFile(join(mine, 'config.json'), 'utf8')) as object;
    expect(config).toMatchObject({
      model_type: 'liquid',
      layers: { blend: { mixer: { operator: 'blend', options: {} } } },
      layer_types: ['blend', 'attention'],
    });
  });

  it('is loaded with the operator as a value', async () => {
    await expect(load(mine)).rejects.toMatchObject({ code: 'unknown-operator' });
    await using model = await load(mine, { operators: [blend], engine: 'reference' });
    const said = (await model.generate('The fox', { maxTokens: 8, temperature: 0 })).text;
    const again = (await model.generate('The fox', { maxTokens: 8, temperature: 0 })).text;
    expect(said).toBe(again);
    expect(said.length).toBeGreaterThan(0);
  });

  it('does not run code of its folder, whatever its config.json names', async () => {
    const hostile = join(folder, 'hostile');
    await cp(mine, hostile, { recursive: true });
    await rm(join(hostile, 'manifest.json'));
    const trap = `globalThis.lfmTrap = true; export const blend = 1; export default 1;`;
    for (const name of ['blend.js', 'index.js', 'index.mjs', 'operators.js', 'config.js'])
      await writeFile(join(hostile, name), trap);
    await writeFile(
      join(hostile, 'package.json'),
      '{"type":"module","main":"./index.js","lfm":{"import":"./blend.js"}}',
    );
    const config = await readFile(join(mine, 'config.json'), 'utf8');
    for (const name of [
      'blend',
      './blend.js',
      join(hostile, 'blend.js'),
      'data:text/javascript,globalThis.lfmTrap=1',
    ]) {
      await writeFile(
        join(hostile, 'config.json'),
        config.replace('"operator": "blend"', `"operator": ${JSON.stringify(name)}`),
      );
      const { code, err } = await run('inspect', hostile);
      expect(code).toBe(2);
      expect(err).toContain('A model folder brings no code');
    }
    const keys = { auto_map: { AutoModel: 'blend.js' }, import: './blend.js' };
    await writeFile(join(hostile, 'config.json'), JSON.stringify({ ...(JSON.parse(config) as object), ...keys }));
    expect((await run('inspect', hostile)).err).toContain('auto_map');
    expect(globalThis).not.toHaveProperty('lfmTrap');
  });

  it.each([
    ['a file that is not there', 'nowhere.js', undefined, 'there is no such file'],
    ['a module that is damaged', 'damaged.js', 'export const = 1;', 'could not be loaded'],
    ['a module without operators', 'empty.js', 'export const mine = () => 1;', 'it exports no operators'],
    [
      'operators of another copy of the library',
      'foreign.js',
      "export const mine = Object.assign(() => 1, { operatorName: 'mine' });",
      'another copy of lfm',
    ],
  ])('says what is wrong with %s', async (_, name, code, expected) => {
    const path = join(folder, name);
    if (code !== undefined) await writeFile(path, code);
    const result = await run('--import', path, 'inspect', mine);
    expect(result).toMatchObject({ code: 2, out: '', err: expect.stringContaining(expected) });
  });

  it('is known to every command once the command line imports its module', async () => {
    const recipe = join(folder, 'recipe.json');
    const mixer = { operator: 'blend', options: { kernel: 3 } };
    const mlp = { operator: 'swiglu', options: { intermediateSize: 16 } };
    const model = {
      model_type: 'liquid',
      liquid_version: 1,
      hidden_size: 16,
      layers: { blend: { mixer, mlp } },
      layer_types: ['blend', 'blend'],
    };
    await writeFile(
      recipe,
      JSON.stringify({
        format: 1,
        name: 'own',
        model,
        tokenizer: { train: { vocabSize: 280 } },
        data: { sources: [{ name: 'text' }] },
        batch: { size: 2, length: 16 },
        learningRate: 0.01,
        schedule: { kind: 'cosine', warmupSteps: 1 },
        steps: 3,
        engine: { threads: 1 },
        sample: { prompt: 'The', maxTokens: 4 },
      }),
    );
    const words = ['train', recipe, '--data', join(folder, 'text.txt'), '--out', join(folder, 'run'), '--json'];
    expect(await run(...words)).toMatchObject({ code: 2, err: expect.stringContaining('"blend"') });
    expect(await run('--import', file, ...words)).toMatchObject({ code: 0, err: '' });
    const final = join(folder, 'run/final');
    expect(JSON.parse(await readFile(join(final, 'config.json'), 'utf8'))).toMatchObject({
      vocab_size: 280,
      max_position_embeddings: 16,
      layers: model.layers,
    });
    const inspected = await run('inspect', final, '--import', file);
    expect(inspected).toMatchObject({ code: 0, err: '' });
    expect(inspected.out).toMatch(/liquid[^]*blend, swiglu[^]*tail: fixed \[2, 16\]/);
    const quick = ['--engine', 'reference', '--max-tokens', '4'];
    expect(await run('--import', file, 'generate', final, 'The', ...quick)).toMatchObject({ code: 0, err: '' });
  });
});
