// A session whose weights are bound: it is given what its kernels read in place for as long as it lives, and what they lay out anew
// only while it is made.
import type { OnnxBuffer } from './buffer.ts';
import type { LoweredProgram } from './lower.ts';
import type { SessionOptions } from './options.node.ts';
import { laysOut } from './probe.node.ts';
import type { Reading } from './repacked.ts';
import { Session } from './session.node.ts';
import { Value } from './value.node.ts';

/** Errors: those of reading weights again and of `Session.open`. */
export async function openBound(
  lowered: LoweredProgram,
  bind: Readonly<Record<string, OnnxBuffer<Value>>>,
  options: SessionOptions,
): Promise<Session> {
  const { readings, derived } = lowered;
  const passes = (reading: Reading | undefined) =>
    reading?.how === 'laid-out' && reading.by.every((node) => laysOut(node, options));
  const wanted = new Set([...readings.keys(), ...derived.flatMap(({ from }) => from)]);
  const given: { readonly name: string; readonly buffer: OnnxBuffer<Value>; readonly value: Value }[] = [];
  const made: (readonly [name: string, value: Value])[] = [];
  try {
    for (const [name, buffer] of Object.entries(bind)) {
      if (!wanted.has(`in:${name}`)) continue;
      const value = await buffer.present();
      value.hold();
      given.push({ name: `in:${name}`, buffer, value });
    }
    const bytesOf = (wantedName: string): Uint8Array =>
      given.find(({ name }) => name === wantedName)?.value.bytes() ?? new Uint8Array();
    for (const { name, dtype, dims, from, fill } of derived) {
      const value = Value.zeros(dtype, dims);
      made.push([name, value]);
      fill(value.bytes(), ...from.map(bytesOf));
    }
    const all = [...given.map(({ name, value }) => [name, value] as const), ...made];
    const read = all.filter(([name]) => readings.has(name));
    const part = (isPassing: boolean) =>
      Object.fromEntries(read.filter(([name]) => (passes(readings.get(name)) ?? false) === isPassing));
    return await Session.open(lowered.model, { ...options, initializers: part(false), passing: part(true) });
  } finally {
    for (const [, value] of made) value.release();
    for (const { name, buffer, value } of given) {
      value.letGo();
      const reading = readings.get(name);
      if (reading === undefined || passes(reading)) buffer.letGo();
    }
  }
}
