// Programs over 4 and 8 devices of the CPU plug-in: Shardy's and GSPMD's shardings, collectives, one list a device.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DeviceBuffer } from './buffer.node.ts';
import type { Client } from './client.node.ts';
import type { Executable } from './executable.node.ts';
import { Emitter } from './emitter.ts';
import { liveHandles } from './handles.ts';
import { listCollectives, readHlo } from './hlo.ts';
import { meshOperation, onEachDevice } from './shardy.ts';
import { cpuPlugin, openCpu } from './testing.node.ts';

const size = 16;
const matrix = `tensor<${size}x${size}xf32>`;

/** Product and sum of a (rows over "data", columns over "tensor") with b (rows over "tensor"). */
function sharded(data: number, tensor: number): string {
  const on = (...axes: string[]): string =>
    `{sdy.sharding = #sdy.sharding<@mesh, [${axes.map((axis) => `{${axis}}`).join(', ')}]>}`;
  return `module @product {
    sdy.mesh @mesh = <["data"=${data}, "tensor"=${tensor}]>
    func.func public @main(%a: ${matrix} ${on('"data"', '"tensor"')}, %b: ${matrix} ${on('"tensor"', '')})
        -> (${matrix} ${on('"data"', '')}, tensor<f32> ${on()}) {
      %0 = stablehlo.dot_general %a, %b, contracting_dims = [1] x [0] : (${matrix}, ${matrix}) -> ${matrix}
      %zero = stablehlo.constant dense<0.0> : tensor<f32>
      %1 = stablehlo.reduce(%0 init: %zero) applies stablehlo.add across dimensions = [0, 1] : (${matrix}, tensor<f32>) -> tensor<f32>
      return %0, %1 : ${matrix}, tensor<f32> } }`;
}

const a = Float32Array.from({ length: size * size }, (_, i) => (i * 7) % 13);
const b = Float32Array.from({ length: size * size }, (_, i) => (i * 5) % 11);
const product = Float32Array.from({ length: size * size }, (_, i) => {
  let sum = 0;
  for (let k = 0; k < size; k++) sum += (a[Math.floor(i / size) * size + k] ?? 0) * (b[k * size + (i % size)] ?? 0);
  return sum;
});
const total = product.reduce((sum, value) => sum + value, 0);

/** A block of a square matrix. */
function block(from: Float32Array, row: number, rows: number, column: number, columns: number): Float32Array {
  return Float32Array.from(
    { length: rows * columns },
    (_, i) => from[(row + Math.floor(i / columns)) * size + column + (i % columns)] ?? NaN,
  );
}

describe.skipIf(!cpuPlugin)('partitioned programs [xla]', () => {
  let client: Client;
  beforeAll(async () => void (client = await openCpu(8)));
  afterAll(async () => {
    await client.close();
    expect(liveHandles()).toEqual({ clients: 0, executables: 0, buffers: 0, events: 0 });
  });

  /** Each device's blocks, in the executable's order, which the mesh fills row by row. */
  function shard(executable: Executable, data: number, tensor: number): DeviceBuffer[][] {
    return executable.devicePointers.map((pointer, index) => {
      const device = client.addressableDevices.find((candidate) => candidate.pointer === pointer);
      if (!device) throw new Error('no such device');
      const [rows, columns] = [size / data, size / tensor];
      const [i, j] = [Math.floor(index / tensor), index % tensor];
      return [
        client.put(block(a, i * rows, rows, j * columns, columns), {
          dtype: 'float32',
          shape: [rows, columns],
          device,
        }),
        client.put(block(b, j * columns, columns, 0, size), { dtype: 'float32', shape: [columns, size], device }),
      ];
    });
  }

  async function expectProduct(
    outputs: readonly (readonly DeviceBuffer[])[],
    data: number,
    tensor: number,
  ): Promise<void> {
    for (const [index, [part, sum]] of outputs.entries()) {
      const rows = size / data;
      const want = block(product, Math.floor(index / tensor) * rows, rows, 0, size);
      expect(part?.shape).toEqual([rows, size]);
      expect(await part?.read()).toEqual(want);
      expect(await sum?.read()).toEqual(Float32Array.of(total));
    }
  }

  const meshes = [
    [2, 2],
    [4, 1],
    [4, 2],
    [2, 4],
    [8, 1],
  ] as const;

  it.each(meshes)('runs over a %i x %i mesh with Shardy', async (data, tensor) => {
    using executable = await client.compile(sharded(data, tensor), { partitions: data * tensor, shardy: true });
    expect(executable.partitions).toBe(data * tensor);
    expect(executable.outputTypes()).toEqual([
      { dtype: 'float32', shape: [size / data, size] },
      { dtype: 'float32', shape: [] },
    ]);
    const inputs = shard(executable, data, tensor);
    await expectProduct(executable.launch(inputs), data, tensor);
    const { outputs, complete } = await executable.execute(inputs);
    await complete;
    await expectProduct(outputs, data, tensor);

    // The product is summed over "tensor" and the total over all devices.
    const collectives = listCollectives(readHlo(executable.optimizedProgram()));
    expect(collectives.every(({ kind }) => kind === 'all-reduce')).toBe(true);
    const bytes = collectives.map(({ resultBytes }) => resultBytes).toSorted((x, y) => y - x);
    expect(bytes).toEqual(tensor > 1 ? [(4 * size * size) / data, 4] : [4]);
  });

  it('puts partitions on the devices that were named', async () => {
    const deviceIds = [7, 5, 3, 1];
    using executable = await client.compile(sharded(2, 2), { partitions: 4, shardy: true, deviceIds });
    const ids = executable.devicePointers.map(
      (pointer) => client.devices.find((device) => device.pointer === pointer)?.id,
    );
    expect(ids).toEqual(deviceIds);
    await expectProduct(executable.launch(shard(executable, 2, 2)), 2, 2);
  });

  it('writes a partitioned executable and reads it back', async () => {
    const compiled = await client.compile(sharded(4, 2), { partitions: 8, shardy: true });
    const bytes = await compiled.serialize();
    compiled.destroy();
    using loaded = await client.deserialize(bytes);
    expect(loaded.devicePointers).toHaveLength(8);
    await expectProduct(loaded.launch(shard(loaded, 4, 2)), 4, 2);
  });

  it('still takes mhlo.sharding', async () => {
    const rows = '{mhlo.sharding = "{devices=[4,1]<=[4]}"}';
    using executable = await client.compile(
      `module @sum attributes {mhlo.num_partitions = 4 : i32, mhlo.num_replicas = 1 : i32} {
        func.func public @main(%a: tensor<8xf32> ${rows.replace('[4,1]', '[4]')}) -> (tensor<f32> {mhlo.sharding = "{replicated}"}) {
          %zero = stablehlo.constant dense<0.0> : tensor<f32>
          %0 = stablehlo.reduce(%a init: %zero) applies stablehlo.add across dimensions = [0] : (tensor<8xf32>, tensor<f32>) -> tensor<f32>
          return %0 : tensor<f32> } }`,
      { partitions: 4 },
    );
    const inputs = client.addressableDevices
      .slice(0, 4)
      .map((device, i) => [client.put(Float32Array.of(i, 10), { dtype: 'float32', shape: [2], device })]);
    for (const [sum] of executable.launch(inputs)) expect(await sum?.read()).toEqual(Float32Array.of(46));
  });

  it('runs a body on each device’s own part', async () => {
    const mesh = { data: 2, tensor: 2 };
    const type = { dtype: 'float32', shape: [8, 2] } as const;
    const emitter = new Emitter({}, { mesh });
    const x = { ...type, name: '%x' };
    const whole = '{sdy.sharding = #sdy.sharding<@mesh, [{}, {}]>}';
    const division = [['data', 'tensor'], []];
    // Reversed within each part: the whole array's reverse would need the neighbours.
    const [y] = onEachDevice(emitter, mesh, [{ ref: x, division }], [{ type, division }], (inner, [part]) =>
      part ? [inner.one('stablehlo.reverse', [part], part, 'dimensions = array<i64: 0>')] : [],
    );
    const text = `module @parts attributes {mhlo.num_partitions = 4 : i32, mhlo.num_replicas = 1 : i32} {
      ${meshOperation(mesh)}
      func.func public @main(%x: tensor<8x2xf32> ${whole}) -> (tensor<8x2xf32> ${whole}) {
      ${emitter.lines.join('\n')}
      "func.return"(${y?.name}) : (tensor<8x2xf32>) -> () } }`;
    using executable = await client.compile(text, { partitions: 4, shardy: true });
    const values = Float32Array.from({ length: 16 }, (_, i) => i);
    const inputs = executable.devicePointers.map((pointer) => {
      const device = client.addressableDevices.find((candidate) => candidate.pointer === pointer);
      if (!device) throw new Error('no such device');
      return [client.put(values, { ...type, device })];
    });
    for (const [part] of executable.launch(inputs)) {
      expect(part?.shape).toEqual([8, 2]);
      expect(Array.from((await part?.read()) ?? [], Number)).toEqual([
        2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13,
      ]);
    }
  });

  it('refuses lists for fewer devices than the program has', async () => {
    using executable = await client.compile(sharded(4, 2), { partitions: 8, shardy: true });
    expect(() => executable.launch(shard(executable, 4, 2).slice(1))).toThrowError(/Expected 8 argument lists/);
    await expect(client.compile(sharded(8, 2), { partitions: 16, shardy: true })).rejects.toMatchObject({
      name: 'LfmError',
    });
  });
});
