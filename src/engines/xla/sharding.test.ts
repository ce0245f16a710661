// Rules, plans and parts, without a plug-in.
import { describe, expect, it } from 'vitest';
import { add, trace } from '../../tensor/index.ts';
import { cutPart, joinPart } from '../../tensor/part.ts';
import { checkMesh, partOf, sameDivision } from './mesh.ts';
import { describePlan, planSharding } from './sharding.ts';
import { toStableHlo } from './stablehlo.ts';

const batch = { size: 4, length: 6 };

describe('sharding plans', () => {
  it('divide what the rules name, each mesh axis once', () => {
    const plan = planSharding(
      { data: 2, fsdp: 2, tensor: 4 },
      {
        up: { shape: [32, 16], axes: ['intermediate', 'hidden'] },
        square: { shape: [16, 16], axes: ['hidden', 'hidden'] },
        free: { shape: [3], axes: ['tap'] },
      },
      { batch },
    );
    expect(plan.shardings['up']?.axes).toEqual([['tensor'], ['fsdp']]);
    expect(plan.shardings['square']?.axes).toEqual([['fsdp'], []]);
    expect(plan.shardings['free']?.axes).toEqual([[]]);
    expect(plan.shardings['second.up']).toEqual(plan.shardings['up']);
    expect(plan.shardings['tokens']?.axes).toEqual([['data', 'fsdp'], []]);
    expect(plan.parameters.map(({ deviceBytes }) => deviceBytes)).toEqual([256, 512, 12]);
    expect(plan).toMatchObject({ parameterBytes: 780, momentBytes: 1560, gradientBytes: 780, notes: [] });
    expect(describePlan(plan)).toContain('[32/tensor, 16/fsdp]  256 B a device, 512 B of moments');
  });

  it('leave whole what does not divide, and say so', () => {
    const plan = planSharding({ data: 2, fsdp: 4, sequence: 4 }, { odd: { shape: [6], axes: ['hidden'] } }, { batch });
    expect(plan.shardings['odd']?.axes).toEqual([[]]);
    expect(plan.shardings['labels']?.axes).toEqual([['data'], []]);
    expect(plan.notes).toEqual([
      'odd: hidden of 6 does not divide over fsdp=4',
      'a batch: batch of 4 does not divide over data=2 x fsdp=4',
      'a batch: length of 6 does not divide over sequence=4',
    ]);
    expect(describePlan(plan)).toContain('whole on each device: odd');
  });

  it('take other rules, and refuse nonsense', () => {
    const rules = { hidden: ['tensor', 'fsdp'] };
    const plan = planSharding({ fsdp: 2, tensor: 2 }, { w: { shape: [8], axes: ['hidden'] } }, { rules, batch });
    expect(plan.shardings['w']?.axes).toEqual([['tensor', 'fsdp']]);
    for (const mesh of [{ data: 0 }, { data: 1.5 }, { 'a"b': 2 }])
      expect(() => planSharding(mesh, {}, { batch })).toThrowError(/mesh axes by name/);
    expect(() => planSharding({ data: 2 }, { w: { shape: [8], axes: [] } }, { batch })).toThrowError(/names 0 axes/);
    expect(() => checkMesh({ data: 4, tensor: 4 }, 8)).toThrowError(/takes 16 devices; found 8/);
  });
});

describe('parts', () => {
  const mesh = { data: 2, fsdp: 2, tensor: 2 };

  it('lie where the mesh’s digits say', () => {
    // Device 5 is data 1, fsdp 0, tensor 1.
    const sharding = { axes: [['tensor'], ['data', 'fsdp']] };
    expect(partOf(mesh, sharding, [4, 8], 5)).toEqual({ starts: [2, 4], sizes: [2, 2] });
    expect(partOf(mesh, { axes: [[], []] }, [4, 8], 5)).toEqual({ starts: [0, 0], sizes: [4, 8] });
  });

  it('cut and joined are the whole', () => {
    const shape = [4, 3, 8];
    const whole = Uint8Array.from({ length: 4 * 3 * 8 * 2 }, (_, i) => i);
    for (const axes of [
      [['data', 'tensor'], [], []],
      [[], [], ['fsdp']],
      [['data'], [], ['tensor', 'fsdp']],
      [[], [], []],
    ]) {
      const joined = new Uint8Array(whole.length);
      for (let device = 0; device < 8; device++) {
        const part = partOf(mesh, { axes }, shape, device);
        joinPart(joined, shape, part, 2, cutPart(whole, shape, part, 2));
      }
      expect(joined).toEqual(whole);
    }
    // Rows 2 and 3, columns 4 to 7, of a matrix of bytes.
    const part = partOf(mesh, { axes: [['data'], ['tensor']] }, [4, 8], 7);
    expect([...cutPart(whole.subarray(0, 32), [4, 8], part, 1)]).toEqual([20, 21, 22, 23, 28, 29, 30, 31]);
    expect(cutPart(new Uint8Array(0), [0, 8], partOf(mesh, { axes: [['data'], []] }, [0, 8], 1), 1)).toHaveLength(0);
  });

  it('are alike whatever the priority', () => {
    expect(sameDivision(undefined, { axes: [[], []], priority: 1 })).toBe(true);
    expect(sameDivision({ axes: [['data'], []] }, { axes: [['data'], []], priority: 1 })).toBe(true);
    expect(sameDivision({ axes: [['data'], []] }, { axes: [[], ['data']] })).toBe(false);
  });
});

describe('partitioned text', () => {
  const type = { dtype: 'float32', shape: [4, 2] } as const;
  const program = trace('step', { a: type, b: type }, ({ a, b }) => ({ c: add(a, b) }), { donations: { a: 'c' } });
  const mesh = { data: 2, tensor: 2 };

  it('names the mesh and what divides each port', () => {
    const rows = { axes: [['data'], ['tensor']], priority: 1 };
    const { text, aliases } = toStableHlo(program, { partition: { mesh, shardings: { a: rows, c: rows } } });
    expect(text).toContain('mhlo.num_partitions = 4');
    expect(text).toContain('sdy.mesh @mesh = <["data"=2, "tensor"=2]>');
    expect(text).toContain(
      'tf.aliasing_output = 0 : i32, sdy.sharding = #sdy.sharding<@mesh, [{"data"}p1, {"tensor"}p1]>',
    );
    expect(text).toContain('%arg1: tensor<4x2xf32> {sdy.sharding = #sdy.sharding<@mesh, [{}, {}]>}');
    expect(aliases).toEqual({ a: 'c' });
  });

  it('donates only to what lies alike', () => {
    const shardings = { a: { axes: [['data'], []] } };
    expect(toStableHlo(program, { partition: { mesh, shardings } }).aliases).toEqual({});
  });
});
