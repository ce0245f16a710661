// Adapters of whole model folders: written as peft's folders, loaded by name, over packed weights, kept with conversations.
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openEngine } from '#engine';
import type { LoadOptions } from './load.ts';
import { load } from './load.ts';
import { quantizeModel } from './quantize.node.ts';
import { openSource } from './source.node.ts';
import { writeModelFolder } from './testing.node.ts';
import { writeAdapterFolder } from './testing-adapter.node.ts';

let root: string;
const at = (name: string) => join(root, name);
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lfm-adapters-'));
  await mkdir(at('plain'));
  await writeModelFolder(at('plain'), { chats: true, hiddenSize: 64, intermediateSize: 96 });
  const source = await openSource(at('plain'));
  await quantizeModel(source, at('int4'), { bits: 4, block: 32 });
  await source.weights.close();
  await writeAdapterFolder(at('one'), at('plain'), 1);
  await writeAdapterFolder(at('two'), at('plain'), 2);
});
afterAll(() => rm(root, { recursive: true }));

const choices = [' the mill', ' stones', ' hill and nobody'];
const both = () => ({ one: at('one'), two: at('two') });

async function scores(name: string, options: LoadOptions, adapter?: string): Promise<readonly number[]> {
  await using model = await load(at(name), { engine: { name: 'onnx', threads: 1 }, ...options });
  return await model.score('The brook runs down', choices, { adapter });
}

const furthest = (a: readonly number[], b: readonly number[]) =>
  Math.max(...a.map((value, i) => Math.abs(value - (b[i] ?? NaN))));

describe('an adapter of a model folder [onnx]', () => {
  it('changes packed weights as it changes the floats that they stand for', async () => {
    const adapters = both();
    const packed = await scores('int4', { adapters }, 'one');
    expect(furthest(packed, await scores('int4', { adapters, numerics: 'exact' }, 'one'))).toBeLessThan(1e-4);
    expect(furthest(packed, await scores('int4', { adapters }, 'two'))).toBeGreaterThan(0.01);
    expect(furthest(packed, await scores('int4', { adapters }))).toBeGreaterThan(0.01);
    expect(await scores('int4', { adapters })).toEqual(await scores('int4', {}));
  });

  it('comes and goes while the model is loaded', async () => {
    await using model = await load(at('plain'));
    await model.loadAdapter('one', at('one'));
    expect(model.adapters).toEqual(['one']);
    await expect(model.loadAdapter('one', at('two'))).rejects.toMatchObject({ code: 'adapter-exists' });
    const options = { maxTokens: 12, temperature: 0 };
    const [plain, under] = await Promise.all([
      model.generate('The brook', options),
      model.generate('The brook', { ...options, adapter: 'one' }),
    ]);
    expect(under.text).not.toBe(plain.text);
    await expect((async () => model.generate('The', { adapter: 'two' }))()).rejects.toMatchObject({
      code: 'unknown-adapter',
    });
    await model.unloadAdapter('one');
    expect(model.adapters).toEqual([]);
    await expect(model.score('The', choices, { adapter: 'one' })).rejects.toMatchObject({ code: 'unknown-adapter' });
    await model.loadAdapter('again', at('one'));
    expect((await model.generate('The brook', { ...options, adapter: 'again' })).text).toBe(under.text);
  });

  it('belongs to the conversations held under it', async () => {
    await using model = await load(at('plain'), { adapters: both() });
    const talk = model.conversation({ adapter: 'one' });
    await talk.say('Where to?', { maxTokens: 4, temperature: 0 });
    const saved = await talk.toBytes();
    await expect(model.conversation({ adapter: 'two' }).fromBytes(saved)).rejects.toMatchObject({
      code: 'wrong-model',
    });
    await expect(model.conversation().fromBytes(saved)).rejects.toMatchObject({ code: 'wrong-model' });
    const again = model.conversation({ adapter: 'one' });
    await again.fromBytes(saved);
    const { usage } = await again.say('And then?', { maxTokens: 4, temperature: 0 });
    expect(usage.cachedTokens).toBeGreaterThan(10);
  });

  it('leaves nothing behind where one of several does not fit', async () => {
    const engine = await openEngine({ name: 'onnx', threads: 1 });
    const adapters = { one: at('one'), none: at('plain') };
    await expect(load(at('plain'), { engine, adapters })).rejects.toMatchObject({ code: 'adapter-missing' });
    expect(engine.live().buffers).toBe(0);
    await engine.close();
  });
});
