// Scratch memory of sessions that share an arena: what one took is the other's, and the system's again soon.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { encodeModel, GraphBuilder } from './proto.ts';
import { Session } from './session.node.ts';
import { Value } from './value.node.ts';

const SIZE = 2048;
const BYTES = 4 * SIZE * SIZE;

/** The sum of cos(sin(x)) with x in between as large as `x` [N], beside it for no longer than a run. */
function summing(): Session {
  const g = new GraphBuilder();
  g.input('x', 'float32', ['N']);
  const turned = g.node('Cos', [g.node('Sin', ['x'])]);
  g.node('ReduceSum', [turned], { outputs: 'sum', attributes: { keepdims: { int: 0 } } });
  g.output('sum', 'float32', []);
  return Session.openSync(encodeModel(g), { intraOpThreads: 1, sharedArena: true });
}

const anonymous = () => 1024 * Number(/RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);

it.runIf(process.platform === 'linux')('gives memory back once another session has run twice', () => {
  using large = summing();
  using small = summing();
  using many = Value.zeros('float32', [SIZE * SIZE]);
  using few = Value.over('float32', [2], Float32Array.of(0, Math.PI));
  using sum = Value.zeros('float32', []);
  const bindings = [many, few].map((value, at) => {
    const binding = (at === 0 ? large : small).bind(['x'], ['sum']);
    binding.setInput(0, value);
    binding.setOutput(0, sum);
    return binding;
  });
  const [ofMany, ofFew] = bindings;
  ofMany?.run();
  expect(new Float32Array(sum.copy().buffer)[0]).toBe(SIZE * SIZE);
  const before = anonymous();
  ofFew?.run();
  expect(anonymous()).toBeGreaterThan(before - BYTES / 2);
  ofFew?.run();
  expect(anonymous()).toBeLessThan(before - BYTES / 2);
  expect(new Float32Array(sum.copy().buffer)[0]).toBeCloseTo(2, 5);
  for (const binding of bindings) binding.dispose();
});
