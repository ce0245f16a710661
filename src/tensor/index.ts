// Tensor programs: tracing, operations, composites, differentiation, text. Knows no engine.
import './primitives/elementwise.ts';
import './primitives/movement.ts';
import './primitives/reduction.ts';
import './primitives/contraction.ts';
import './primitives/indexing.ts';
import './primitives/control.ts';

export * from './error.ts';
export * from './dtype.ts';
export * from './shape.ts';
export * from './program.ts';
export * from './functions.ts';
export { Tensor, trace } from './tracer.ts';
export type { TraceOptions } from './tracer.ts';
export { operationKinds } from './definition.ts';
export { differentiate, gradients } from './autodiff.ts';
export { checkpoint, scan, whileLoop } from './primitives/control.ts';
export { attention, cachedAttention } from './composites/attention.ts';
export { causalConv } from './composites/causal-conv.ts';
export { softmaxCrossEntropy } from './composites/cross-entropy.ts';
export { layerNorm, rmsNorm } from './composites/norm.ts';
export { rotary, rotaryTables } from './composites/rotary.ts';
export { silu } from './composites/silu.ts';
export { expanded, withoutIdleHistory } from './passes.ts';
export { hashProgram, parseProgram, printProgram } from './text.ts';
export { Random, randomUniform, streamOf, threefry } from './random.ts';
