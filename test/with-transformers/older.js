// lfm with an older onnxruntime-node that is imported after it: each must go on with a library of its own.
import { load } from 'lfm';

async function greedy() {
  const model = await load('brook-7m', { engine: 'onnx' });
  const { text: said } = await model.generate('Once upon a time', { maxTokens: 12, temperature: 0 });
  await model[Symbol.asyncDispose]();
  return said;
}

const text = (...bytes) => bytes.flatMap((each) => (typeof each === 'string' ? [...Buffer.from(each)] : each));
/** A field of protobuf that holds bytes. */
const field = (number, ...bytes) => [(number << 3) | 2, text(...bytes).length, ...text(...bytes)];
/** y = -x, float[1]. */
const port = (name) => [...field(1, name), ...field(2, field(1, 8, 1, field(2, field(1, 8, 1))))];
const node = field(1, field(1, 'x'), field(2, 'y'), field(4, 'Neg'));
const graph = field(7, node, field(2, 'g'), field(11, port('x')), field(12, port('y')));
const negation = Uint8Array.from([8, 8, ...graph, ...field(8, 16, 13)]);

const before = await greedy();
const { default: older } = await import('older-onnxruntime');
const session = await older.InferenceSession.create(negation);
const { y } = await session.run({ x: new older.Tensor('float32', [3], [1]) });
if (y.data[0] !== -3) throw new Error(`onnxruntime-node ${older.env.versions.node}: expected -3, found ${y.data[0]}`);
const after = await greedy();
if (after !== before) throw new Error(`lfm: expected ${before}, found ${after}`);
console.log(`older: both ran, lfm and onnxruntime-node ${older.env.versions.node}`);
