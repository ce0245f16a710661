// Options of commands that tell what models cost: lengths, a device, the element type.
import { InvalidArgumentError, Option } from 'commander';
import type { Device, RunType } from '../liquid/index.ts';
import { devices } from '../liquid/index.ts';

const LONGEST = 2 ** 24;

/** 4096 or 4k. */
function lengthOf(text: string): number {
  const found = /^(\d{1,8})(k?)$/i.exec(text.trim());
  const length = Number(found?.[1]) * (found?.[2] ? 1024 : 1);
  if (Number.isSafeInteger(length) && length >= 1 && length <= LONGEST) return length;
  throw new InvalidArgumentError(
    `Expected lengths such as 4096, 4k, 1k..128k or 4k,32k, up to 16384k; found "${text}".`,
  );
}

/** `1k..128k` doubles from the first to the last, which is among them; lengths may also be named one by one. */
export function parseLengths(text: string): number[] {
  const [from, to, ...rest] = text.split('..');
  if (from === undefined || to === undefined || rest.length > 0)
    return [...new Set(text.split(',').map(lengthOf))].toSorted((a, b) => a - b);
  const [first, last] = [lengthOf(from), lengthOf(to)];
  if (first > last) throw new InvalidArgumentError(`Expected the shorter length first; found "${text}".`);
  const lengths: number[] = [];
  for (let length = first; length < last; length *= 2) lengths.push(length);
  return [...lengths, last];
}

const shape = 'flops=1e14,bandwidth=1e12,memory=24e9';

/** The device of that name, or what the text says one can do. */
export function parseDevice(text: string): Device {
  const known = Object.hasOwn(devices, text) ? devices[text] : undefined;
  if (known) return known;
  const given = new Map(text.split(',').map((part) => part.split('=').map((word) => word.trim()) as [string, string]));
  const [flops = 0, bandwidth = 0, memory = 0] = ['flops', 'bandwidth', 'memory'].map((key) => Number(given.get(key)));
  const whole = [flops, bandwidth, memory].every((figure) => Number.isFinite(figure) && figure > 0);
  if (whole && given.size === 3) return { flops, bandwidth, memory };
  throw new InvalidArgumentError(
    `Expected ${Object.keys(devices).join(', ')}, or ${shape} (a second, bytes a second, bytes).`,
  );
}

export const deviceOption = () =>
  new Option('--device <device>', `estimate speeds on one: ${Object.keys(devices).join(', ')}, or ${shape}`).argParser(
    parseDevice,
  );

const runTypes: readonly RunType[] = ['bfloat16', 'float16', 'float32'];

export const dtypeOption = () =>
  new Option('--dtype <type>', 'element type of weights and state').choices(runTypes).default('bfloat16');
