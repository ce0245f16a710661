// Counts what a piece of work asks memory for: the largest typed array, and how much the heap grew.

const typed = [
  'ArrayBuffer',
  'Uint8Array',
  'Int8Array',
  'Uint16Array',
  'Int16Array',
  'Uint32Array',
  'Int32Array',
  'Float32Array',
  'Float64Array',
  'BigInt64Array',
  'BigUint64Array',
] as const;

export interface Allocations {
  /** Bytes of the largest array that was asked for by its length, whether or not it was given. */
  readonly largest: number;
  /** Bytes by which the heap grew; less where garbage was collected meanwhile. */
  readonly heap: number;
}

/** Runs `work` with the constructors of arrays watched. Not for two pieces of work at once. */
export async function watchAllocations(work: () => Promise<void>): Promise<Allocations> {
  const scope = globalThis as unknown as Record<string, unknown>;
  const originals = typed.map((name) => [name, scope[name]] as const);
  let largest = 0;
  const plainArray = globalThis.Array;
  const from = plainArray.from;
  for (const [name, original] of originals) {
    if (typeof original !== 'function') continue;
    const { BYTES_PER_ELEMENT: width = 1 } = original as { BYTES_PER_ELEMENT?: number };
    scope[name] = new Proxy(original, {
      construct(target, args: unknown[], newTarget) {
        const [length] = args;
        if (typeof length === 'number') largest = Math.max(largest, length * width);
        // instanceof and species stay those of the original.
        return Reflect.construct(target, args, newTarget === scope[name] ? target : newTarget) as object;
      },
    });
  }
  plainArray.from = function watched(this: ArrayConstructor, ...args: Parameters<typeof from>) {
    const [source] = args as unknown as [{ length?: unknown }];
    if (typeof source?.length === 'number') largest = Math.max(largest, 8 * source.length);
    return Reflect.apply(from, this, args) as unknown[];
  } as typeof from;
  const before = process.memoryUsage().heapUsed;
  try {
    await work();
    return { largest, heap: Math.max(0, process.memoryUsage().heapUsed - before) };
  } finally {
    plainArray.from = from;
    for (const [name, original] of originals) scope[name] = original;
  }
}
