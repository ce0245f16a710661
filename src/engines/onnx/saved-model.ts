// What ONNX Runtime says, in a model that it saved, of the initializers that it put into a file beside: where each of them
// and of its laid-out forms stands. (ModelProto.graph 7, GraphProto.initializer 5, TensorProto.name 8, external_data 13.)
import type { ExternalData } from './proto.ts';

/** Fields of a message that are messages, strings or bytes. */
function* parts(message: Uint8Array): Generator<readonly [field: number, bytes: Uint8Array], void, undefined> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let unit = 1; ; unit *= 128) {
      const byte = message[at++] ?? 0;
      value += (byte & 127) * unit;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const [field, kind] = [Math.floor(tag / 8), tag % 8];
    if (kind === 2) {
      const end = varint() + at;
      yield [field, message.subarray(at, end)];
      at = end;
    } else if (kind === 0) varint();
    else at += kind === 1 ? 8 : 4;
  }
}

const text = new TextDecoder();

/** By the names of the initializers. */
export function externalPlaces(model: Uint8Array): Record<string, ExternalData> {
  const places: Record<string, ExternalData> = {};
  for (const [field, graph] of parts(model)) {
    if (field !== 7) continue;
    for (const [member, tensor] of parts(graph)) {
      if (member !== 5) continue;
      let name = '';
      const found: Record<string, string> = {};
      for (const [part, bytes] of parts(tensor)) {
        if (part === 8) name = text.decode(bytes);
        if (part !== 13) continue;
        const pair = new Map([...parts(bytes)].map(([key, value]) => [key, text.decode(value)]));
        found[pair.get(1) ?? ''] = pair.get(2) ?? '';
      }
      const { location, offset = '0', length, ...laidOut } = found;
      if (location !== undefined)
        places[name] = { location, offset: Number(offset), length: Number(length), ...laidOut };
    }
  }
  return places;
}
