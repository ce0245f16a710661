// Program -> StableHLO text, with every symbol bound to a size. Runs anywhere; knows no plug-in.
import type { Bindings, Operation, Program } from '../../tensor/index.ts';
import { expanded, LfmError, sameShape, withoutIdleHistory } from '../../tensor/index.ts';
import type { CompositeRules } from './composites.ts';
import { prepareComposites } from './composites.ts';
import { contractionRules } from './contraction.ts';
import { controlRules } from './control.ts';
import { elementwiseRules } from './elementwise.ts';
import type { Ref, Rule } from './emitter.ts';
import { expertRules, isDivided } from './experts.ts';
import { Emitter, typeText } from './emitter.ts';
import { indexingRules } from './indexing.ts';
import type { Mesh } from './mesh.ts';
import { deviceCountOf, sameDivision } from './mesh.ts';
import { movementRules } from './movement.ts';
import type { Partition } from './shardy.ts';
import { meshOperation, shardingAttribute } from './shardy.ts';

export interface StableHloOptions {
  /** Sizes of the program's symbols. */
  readonly bindings?: Bindings;
  /** Whose kernels composites may be mapped to; default: none, everything is expanded to StableHLO's own operations. */
  readonly target?: 'generic' | 'cuda';
  /** Kernels that give the same bits each time, where there is a choice. */
  readonly deterministic?: boolean;
  /** Divides the program over a mesh of devices. */
  readonly partition?: Partition;
}

export interface StableHlo {
  readonly text: string;
  /** Donations that the text asks for: input name -> output name. XLA itself orders readers before the writer. */
  readonly aliases: Readonly<Record<string, string>>;
}

function lowerBody(rules: Readonly<Record<string, Rule>>, emitter: Emitter, program: Program): Ref[] {
  for (const operation of program.operations) {
    const rule = rules[operation.kind];
    if (!rule) throw new LfmError('xla-unsupported', `The xla engine has no lowering for ${operation.kind}.`);
    rule(emitter, operation);
  }
  return program.outputs.map(({ value }) => emitter.ref(value));
}

function rulesOf(composites: CompositeRules, mesh: Mesh | undefined): Readonly<Record<string, Rule>> {
  const rules: Record<string, Rule> = {
    ...elementwiseRules,
    ...movementRules,
    ...contractionRules,
    ...indexingRules,
    ...composites,
  };
  const lowerRegion = (emitter: Emitter, region: Program) => lowerBody(rules, emitter, region);
  Object.assign(rules, controlRules(lowerRegion), mesh && expertRules(mesh, lowerRegion));
  return rules;
}

/** Donations between an input and an output of one type, size and sharding; where several name one output, the first. */
function aliasesOf(program: Program, emitter: Emitter, partition: Partition | undefined): Map<string, string> {
  const taken = new Set<string>();
  const aliases = new Map<string, string>();
  for (const [input, output] of Object.entries(program.donations)) {
    const from = program.inputs.find(({ name }) => name === input)?.value;
    const to = program.outputs.find(({ name }) => name === output)?.value;
    if (!from || !to || taken.has(output)) continue;
    if (from.dtype !== to.dtype || !sameShape(emitter.dims(from.shape), emitter.dims(to.shape))) continue;
    if (partition && !sameDivision(partition.shardings[input], partition.shardings[output])) continue;
    taken.add(output);
    aliases.set(input, output);
  }
  return aliases;
}

/**
 * The text of a module whose `main` takes the program's inputs and gives its outputs, in order.
 * Errors: `unbound-symbol` for a symbol without a size, `xla-unsupported`.
 */
export function toStableHlo(source: Program, options: StableHloOptions = {}): StableHlo {
  const { bindings = {}, target = 'generic', deterministic = false, partition } = options;
  const composites = prepareComposites(source, { target, deterministic, mesh: partition?.mesh }, bindings);
  const keep = (operation: Operation) =>
    composites.keep(operation) || (partition !== undefined && isDivided(operation));
  const program = withoutIdleHistory(expanded(composites.program, keep));
  const emitter = new Emitter(bindings, partition && { mesh: partition.mesh });
  const aliases = aliasesOf(source, emitter, partition);
  const parameters = program.inputs.map(({ name, value }, index) => {
    const ref = { ...emitter.typeOf(value), name: `%arg${index}` };
    emitter.define(value, ref);
    const output = program.outputs.findIndex((port) => port.name === aliases.get(name));
    const attributes = [
      ...(output < 0 ? [] : [`tf.aliasing_output = ${output} : i32`]),
      ...(partition ? [shardingAttribute(partition, name, ref.shape.length)] : []),
    ];
    return `${ref.name}: ${typeText(ref)}${attributes.length ? ` {${attributes.join(', ')}}` : ''}`;
  });
  const outputs = lowerBody(rulesOf(composites.rules, partition?.mesh), emitter, program);
  const types = outputs.map(typeText).join(', ');
  const results = program.outputs.map(({ name, value }) => {
    const type = emitter.typeOf(value);
    return partition ? `${typeText(type)} {${shardingAttribute(partition, name, type.shape.length)}}` : typeText(type);
  });
  const partitions = partition ? deviceCountOf(partition.mesh) : 1;
  const text = [
    `module @${program.name.replaceAll(/\W/g, '_') || 'program'} attributes {mhlo.num_partitions = ${partitions} : i32, mhlo.num_replicas = 1 : i32} {`,
    ...(partition ? [meshOperation(partition.mesh)] : []),
    `func.func public @main(${parameters.join(', ')}) -> (${results.join(', ')}) {`,
    ...emitter.lines,
    `"func.return"(${outputs.map((ref) => ref.name).join(', ')}) : (${types}) -> ()`,
    '}',
    '}',
    '',
  ].join('\n');
  return { text, aliases: Object.fromEntries(aliases) };
}
