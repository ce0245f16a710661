// Liquid models by definition: operators, the backbone that stacks them, the programs and figures derived from it.
export { decodeBytes, decodeFlops, memoryAt, parameterCounts, prefillFlops } from './accounting.ts';
export { speedOn, stateBytes, weightBytes } from './accounting.ts';
export type { Device, Memory, MemoryOptions, RunType, Speed, Traffic } from './accounting.ts';
export { attention } from './attention.ts';
export type { AttentionOptions } from './attention.ts';
export { createContext } from './context.ts';
export type { Context, ContextOptions } from './context.ts';
export { classHead, tiedHead, tokenEmbedding } from './ends.ts';
export type { Encoder, Head, Objective } from './ends.ts';
export { gatedDelta } from './gated-delta.ts';
export type { GatedDeltaOptions } from './gated-delta.ts';
export { linearAttention } from './linear-attention.ts';
export { mamba2 } from './mamba2.ts';
export type { Mamba2Options } from './mamba2.ts';
export { canonicalGenome, geneNames, hashGenome, parseGenome, printGenome } from './genome/genome.ts';
export type { Genome, LivGenes } from './genome/genome.ts';
export { genomeOf, layersFromGenome, modelFromGenome } from './genome/model.ts';
export type { GenomeSizes, LivSizes } from './genome/model.ts';
export { genomeProblems, randomGenome, repairGenome, validateGenome } from './genome/validate.ts';
export type { GenomeProblem } from './genome/validate.ts';
export { initialise } from './initialise.ts';
export { block, depthGroup, layer, operatorsOf, stack } from './layer.ts';
export type { BlockDefinition, Layer } from './layer.ts';
export { mlp } from './mlp.ts';
export type { MlpOptions } from './mlp.ts';
export { balancedBias, expertLoad, moe } from './moe.ts';
export type { MoeOptions } from './moe.ts';
export { defineModel } from './model.ts';
export type { Model, ModelOptions } from './model.ts';
export { layerNormed, rms } from './norm.ts';
export type { Norm } from './norm.ts';
export { isOperatorConstructor, nameOf, operator, shared } from './operator.ts';
export type { Definition, Operator, OperatorConstructor, Sharing, Sizes } from './operator.ts';
export { findOperator, operatorNames, registerOperators } from './operators.ts';
export { bias, gain, weight } from './parameter.ts';
export type { Init, Parameter, ParameterDeclaration, Tensors } from './parameter.ts';
export type { Link } from './place.ts';
export { gradientProgram, lossProgram, stateTypes, stepProgram } from './programs.ts';
export type { LossOptions, StateOptions, StepOptions } from './programs.ts';
export { devices } from './devices.ts';
export { layerStack } from './pictures/layer-stack.ts';
export { lineChart } from './pictures/line-chart.ts';
export type { ChartLine, ChartOptions } from './pictures/line-chart.ts';
export { formatLength, memoryCurves } from './pictures/memory-curves.ts';
export { operatorMap } from './pictures/operator-map.ts';
export type { MemoryCurve } from './pictures/memory-curves.ts';
export { flopsOfProgram } from './program-flops.ts';
export { peakBytes } from './program-memory.ts';
export { outputProgram } from './output-program.ts';
export { meanSquaredError, regressionHead, valueEncoder } from './series-ends.ts';
export type { ValueEncoderOptions } from './series-ends.ts';
export { shortConv } from './short-conv.ts';
export { livClasses } from './space/classes.ts';
export type { LivClass } from './space/classes.ts';
export { featurizers } from './space/featurizers.ts';
export { liv } from './space/liv.ts';
export { partsOf } from './space/named-points.ts';
export type { FeatureGroup, Featurizer, LivOptions } from './space/parts.ts';
export {
  operatorGenome,
  parseFeaturizerGenome,
  parseOperatorGenome,
  printFeaturizerGenome,
} from './space/operator-genome.ts';
export { fixed, rows, window } from './state.ts';
export type { StateDeclaration } from './state.ts';
export { swiglu } from './swiglu.ts';
