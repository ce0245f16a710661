// Whole runs on a mesh of the CPU plug-in's devices: stopped and gone on with to the same end, on other meshes too.
import { cp, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { xlaEngine } from '../engines/xla/engine.node.ts';
import type { Mesh } from '../engines/xla/mesh.ts';
import { cpuPlugin } from '../engines/xla/testing.node.ts';
import { readMetrics } from './metrics.node.ts';
import { runRecipe } from './run.node.ts';
import { grammarText, temporaryFolder, tinyRecipe } from './testing.node.ts';

async function curve(run: string) {
  const lines = await readMetrics(join(run, 'metrics.jsonl'));
  return lines.flatMap((line) => (line.kind === 'step' ? [{ loss: line.loss, norm: line.norm }] : []));
}

describe.skipIf(!cpuPlugin)('a run [xla, data=2 x fsdp=2]', () => {
  it('that was stopped ends on the same bits, and follows the engine onnx', async () => {
    const folder = await temporaryFolder();
    const text = join(folder, 'text.txt');
    await writeFile(text, grammarText(20_000));
    const [whole, parts, onnx] = ['whole', 'parts', 'onnx'].map((name) => join(folder, name));
    const recipe = tinyRecipe({ sample: { maxTokens: 1 } });
    const plugin = cpuPlugin?.path;
    const open = (mesh: Mesh) => xlaEngine({ cacheFolder: null, cpuDevices: 8, mesh, ...(plugin && { plugin }) });
    const engine = await open({ data: 2, fsdp: 2 });
    await runRecipe(recipe, { engine, data: [text], out: whole ?? '' });
    const abort = new AbortController();
    const stopped = await runRecipe(recipe, {
      engine,
      data: [text],
      out: parts ?? '',
      signal: abort.signal,
      onEvent: (event) => event.kind === 'step' && event.step === 5 && abort.abort(),
    });
    expect(stopped.stopped).toBe(true);
    const path = join(parts ?? '', `step-${stopped.step}`);
    expect((await readdir(path)).filter((name) => name.includes('part'))).toEqual([
      ...[0, 1, 2, 3].map((device) => `model-part-0000${device}.safetensors`),
      'model.parts.json',
      ...[0, 1, 2, 3].map((device) => `optimizer-part-0000${device}.safetensors`),
      'optimizer.parts.json',
    ]);
    const others: readonly Mesh[] = [{ fsdp: 2 }, {}];
    for (const at of others.keys()) await cp(parts ?? '', `${parts}-${at}`, { recursive: true });
    await runRecipe(recipe, { engine, out: parts ?? '', resume: true });
    const found = await curve(whole ?? '');
    expect(await curve(parts ?? '')).toEqual(found);
    expect(engine.live().buffers).toBe(0);
    await engine.close();

    for (const [at, mesh] of others.entries()) {
      const other = await open(mesh);
      await runRecipe(recipe, { engine: other, out: `${parts}-${at}`, resume: true });
      const curveThere = await curve(`${parts}-${at}`);
      expect(curveThere.slice(0, stopped.step)).toEqual(found.slice(0, stopped.step));
      expect(curveThere).toHaveLength(12);
      curveThere.forEach(({ loss, norm }, index) => {
        expect(Math.abs(loss - (found[index]?.loss ?? NaN))).toBeLessThan(1e-5);
        expect(Math.abs(norm - (found[index]?.norm ?? NaN))).toBeLessThan(1e-4);
      });
      await other.close();
    }

    await runRecipe(recipe, { data: [text], out: onnx ?? '' });
    const expected = await curve(onnx ?? '');
    expect(expected).toHaveLength(12);
    expected.forEach(({ loss, norm }, index) => {
      expect(found[index]?.loss).toBeCloseTo(loss, 3);
      expect(found[index]?.norm).toBeCloseTo(norm, 3);
    });
  });

  it('learns from a teacher as on one device', async () => {
    const folder = await temporaryFolder();
    const text = join(folder, 'text.txt');
    await writeFile(text, grammarText(20_000));
    const teacher = join(folder, 'teacher', 'final');
    await runRecipe(tinyRecipe({ steps: 8 }), { data: [text], out: join(folder, 'teacher') });
    const recipe = tinyRecipe({
      model: { from: teacher, intermediateSize: 16 },
      tokenizer: {},
      objective: { name: 'distill', teacher },
    });
    const curves: Awaited<ReturnType<typeof curve>>[] = [];
    for (const mesh of [{ data: 4 }, {}]) {
      const plugin = cpuPlugin?.path;
      const engine = await xlaEngine({ cacheFolder: null, cpuDevices: 8, mesh, ...(plugin && { plugin }) });
      const out = join(folder, JSON.stringify(mesh));
      const { heldOut, teacher: taught } = await runRecipe(recipe, { engine, data: [text], out });
      expect(heldOut?.natsPerToken).toBeGreaterThan(0);
      expect(taught?.natsPerToken).toBeGreaterThan(0);
      expect(engine.live().buffers).toBe(0);
      await engine.close();
      curves.push(await curve(out));
    }
    const [several = [], one = []] = curves;
    expect(one).toHaveLength(12);
    several.forEach(({ loss }, index) => expect(loss).toBeCloseTo(one[index]?.loss ?? NaN, 4));
  });
});
