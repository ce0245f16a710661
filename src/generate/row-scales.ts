// Scales of keys and values held as int8: found once for a model, by what they are in a text of many kinds.
// Shapes: G heads, C rows of room, D width of a head.
import type { Engine } from '../engines/engine.ts';
import type { Model } from '../liquid/index.ts';
import { scalableRows, weightBytes, withScaledRows } from '../liquid/index.ts';
import { countOf, LfmError } from '../tensor/index.ts';
import type { Generator } from './generator.ts';
import type { Notes } from './source.ts';
import { bufferOf } from './state.ts';

/** Element types that keys and values may be held in. */
export const keyValueDtypes = ['float32', 'int8'] as const;
export type KeyValueDtype = (typeof keyValueDtypes)[number];

/**
 * Scales have room for elements so many times as large as the largest of the texts; what goes further is cut off. More room makes
 * steps coarser, which costs more than cutting off does: see LOG.md.
 */
const MARGIN = 1.25;
const LEVELS = 127;
/** A place that was always zero gets a step of its own all the same. */
const LEAST = 1e-6;
const TOKENS = 512;
/** Bytes of weights from which on scales are kept: for a small model they are found in no time. */
const LEAST_NOTED = 2 ** 25;

/** Prose, speech, lists, code, numbers and other languages: what stands at a text's beginning differs from the rest, so it is cut in two. */
export const sampleTexts = [
  `The ferry left at half past six, before the fog had lifted, and nobody on deck could see the far shore. "Is it always like this in March?" asked the boy. His grandmother laughed. "In March it is worse. Look: there is the bell, and there the two red lights. Count to ninety and you will smell the bakery." He counted, lost the number at forty-one, and began again. By then the harbour wall stood in front of them, wet and black, with a row of gulls along its edge.

Rivers carry sand to the sea because moving water lifts small grains; where the bed widens the current slows, the heaviest grains sink first, and a delta grows. In 1998 its area was 1,240.5 km2, about 3% less than in 1971. See Table 4 (p. 17) for the measurements, https://example.org/delta for the maps.

def mean(values):
    total = 0.0
    for value in values:
        total += value
    return total / len(values) if values else None

{"name": "Ada", "age": 36, "tags": ["poet", "engineer"], "address": {"city": "Turin", "zip": "10121"}}
`,
  `Question: Which of these is a mammal? (A) trout (B) bat (C) hen (D) newt
Answer: B, because bats feed their young with milk.

1. Boil two litres of water.
2. Add 500 g of pasta and a spoon of salt.
- Do not cover the pot!
- Stir now and then; wait 9-11 minutes.

Sure! Here is a short summary: the company sold fewer machines, but each of them brought more. I am sorry that I cannot say why. Would you like a list of the reasons instead?

Der Zug hält heute nicht in Fulda. Elle n'a pas répondu à ma lettre. El perro duerme debajo de la mesa. 天気がいいから散歩しましょう。 Сегодня идёт дождь. WHO, NASA & the U.N. met at 10:45 a.m.; x = (-b ± sqrt(b^2 - 4ac)) / 2a. #include <stdio.h> int main(void) { printf("%d\n", 42); return 0; }
`,
] as const;

/** Runs the texts through a generator that holds keys and values as floats, and has it hold them as int8 from then on. */
export async function findScales(
  generator: Generator,
  encode: (text: string) => ArrayLike<number>,
  notes: Notes | undefined,
): Promise<void> {
  const { model, engine } = generator;
  const scales = Object.fromEntries(
    scalableRows(model).map((name) => [name, new Float32Array(countOf(model.states[name]?.shape ?? []))]),
  );
  const most = Math.min(TOKENS, generator.contextLength);
  for (const text of sampleTexts) {
    const tokens = Array.from(encode(text)).slice(0, most);
    const state = await generator.open(tokens.length);
    try {
      await generator.feed(state, [tokens]);
      for (const [name, peak] of Object.entries(scales)) {
        const buffer = bufferOf(state.buffers, name);
        const rows = await engine.download(buffer);
        if (!(rows instanceof Float32Array)) throw new LfmError('bad-scales', `${name} is no state of float32.`);
        raise(peak, rows, buffer.shape, tokens.length, turnedOf(model, name));
      }
    } finally {
      generator.release(state);
    }
  }
  for (const peak of Object.values(scales))
    peak.forEach((value, at) => (peak[at] = Math.max(LEAST, (MARGIN * value) / LEVELS)));
  await generator.scaleRows(scales);
  if (weightBytes(model, 'float32') >= LEAST_NOTED)
    await notes?.write(ABOUT, JSON.stringify(Object.fromEntries(Object.entries(scales).map(encoded))));
}

function turnedOf({ states }: Model, name: string): number {
  const state = states[name];
  return state?.kind === 'rows' ? (state.turned ?? 0) : 0;
}

/**
 * Raises each place's peak [G, D] to the largest of its elements in the first `length` rows of [1, G, C, D]. Of a pair that positions
 * turn both get its length: at some position either may be as large as that.
 */
function raise(peak: Float32Array, rows: Float32Array, shape: readonly number[], length: number, turned: number): void {
  const [, groups = 0, room = 0, width = 0] = shape;
  for (let g = 0; g < groups; g++)
    for (let row = 0; row < length; row++) {
      const at = (g * room + row) * width;
      for (let d = 0; d < width; d++) {
        const other = d < turned ? (d + turned / 2) % turned : d;
        const element = rows[at + d] ?? 0;
        const size = other === d ? Math.abs(element) : Math.hypot(element, rows[at + other] ?? 0);
        peak[g * width + d] = Math.max(peak[g * width + d] ?? 0, size);
      }
    }
}

/** Of the notes about a model; to be changed with the texts and what is made of them. */
const ABOUT = 'key and value scales 1';

const encoded = ([name, { buffer, byteOffset, byteLength }]: readonly [string, Float32Array]): [string, string] => [
  name,
  btoa(String.fromCharCode(...new Uint8Array(buffer, byteOffset, byteLength))),
];
const decoded = ([name, base64]: readonly [string, string]): [string, Float32Array] => [
  name,
  new Float32Array(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer),
];

/** The model with the scales that were found for it before; undefined where there are none that fit. */
export async function withKnownScales(model: Model, notes: Notes | undefined): Promise<Model | undefined> {
  const text = await notes?.read(ABOUT);
  if (text === undefined) return undefined;
  try {
    const scales = Object.fromEntries(Object.entries(JSON.parse(text) as Record<string, string>).map(decoded));
    return scalableRows(model).every((name) => scales[name]) ? withScaledRows(model, scales) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a model's keys and values are to be held as int8. Errors: `bad-key-values` where they cannot be. */
export function holdsInt8Rows(model: Model, engine: Engine, wanted: KeyValueDtype | undefined): boolean {
  const isRounding = Object.values(model.parameters).some(({ quantized }) => quantized?.activations === 'int8');
  const can = isRounding && scalableRows(model).length > 0;
  if (wanted === undefined) return can && (engine.prefersInt8Rows ?? false);
  if (!keyValueDtypes.includes(wanted))
    throw new LfmError(
      'bad-key-values',
      `keyValueDtype: expected one of ${keyValueDtypes.join(', ')}; found ${String(wanted)}.`,
    );
  if (wanted === 'int8' && !can)
    throw new LfmError(
      'bad-key-values',
      "keyValueDtype: int8 is for a model of packed weights with attention, in numerics: 'fast'; the other modes promise more than it keeps.",
    );
  return wanted === 'int8';
}
