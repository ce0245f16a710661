// Operators in their places: short names led to the model's, and what groups have in common led to their first member.
import { LfmError } from '../tensor/error.ts';
import type { Dependence } from './dependence.ts';
import { dependenceOf } from './dependence.ts';
import type { Operator, Sizes } from './operator.ts';
import { nameOf } from './operator.ts';
import type { ParameterDeclaration } from './parameter.ts';
import type { StateDeclaration } from './state.ts';

/** A link of the model for people and pictures: what the operator at `depth` has of the one at `leader`. */
export interface Link {
  readonly kind: 'weights' | 'features';
  readonly group: string;
  readonly operator: string;
  readonly depth: number;
  readonly leader: number;
  /** Parameters, or features, by the operator's names. */
  readonly names: readonly string[];
  /** States held in common. */
  readonly states: readonly string[];
}

/** An operator that knows the model's names of what it reads and writes. */
export interface PlacedOperator {
  readonly operator: Operator;
  readonly depth: number;
  /** The operator's name of each parameter -> the model's. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly states: Readonly<Record<string, string>>;
  /** States that it carries on itself; the others it only reads. */
  readonly ownStates: readonly string[];
  /** Whose features take the place of its own. */
  readonly leader: PlacedOperator | undefined;
  readonly takes: readonly string[];
}

const without = (prefix: string, name: string) => (name.startsWith(prefix) ? name.slice(prefix.length) : undefined);

/** Places operators one after the other, collecting what the model declares. */
export class Placer {
  readonly parameters: Record<string, ParameterDeclaration> = {};
  readonly states: Record<string, StateDeclaration> = {};
  readonly links: Link[] = [];
  private readonly sizes: Sizes;
  private readonly leaders = new Map<string, PlacedOperator>();
  private readonly known = new Map<string, Dependence>();

  constructor(sizes: Sizes) {
    this.sizes = sizes;
  }

  declare(declarations: Readonly<Record<string, ParameterDeclaration>>): void {
    for (const [name, declaration] of Object.entries(declarations)) {
      if (this.parameters[name])
        throw new LfmError(
          'duplicate-parameter',
          `Two parameters are named "${name}": give the operators of a layer scopes of their own.`,
        );
      this.parameters[name] = declaration;
    }
  }

  /** Errors: `bad-sharing`, naming both operators; what the operator says of sizes. */
  place(operator: Operator, depth: number): PlacedOperator {
    const prefix = `layers.${depth}.${operator.scope}.`;
    const parameters = operator.parameters(this.sizes);
    const states = operator.state(this.sizes);
    const names = Object.fromEntries(Object.keys(parameters).map((key) => [key, `model.${prefix}${key}`]));
    const stateNames = Object.fromEntries(Object.keys(states).map((key) => [key, `${prefix}${key}`]));
    let own = new Set(Object.keys(parameters));
    let ownStates = new Set(Object.keys(states));

    const features = operator.sharing?.features;
    const source = features && this.leaderOf(`features ${features.group}`, operator, depth);
    if (features && source) {
      this.requireFeatures(operator, depth, source, features.names);
      const need = neededWith(this.dependence(operator), features.names);
      own = new Set([...own].filter((key) => need.parameters.has(key)));
      const common = [...ownStates].filter((key) => !need.states.has(key) || need.sharedStates.has(key));
      for (const key of Object.keys(parameters)) if (!own.has(key)) names[key] = source.parameters[key] ?? '';
      for (const key of common) stateNames[key] = source.states[key] ?? '';
      ownStates = new Set([...ownStates].filter((key) => !common.includes(key)));
      const held = common.filter((key) => need.sharedStates.has(key));
      this.link('features', features.group, operator, depth, source, features.names, held);
    }

    const weights = operator.sharing?.weights;
    const first = weights && this.leaderOf(`weights ${weights.group}`, operator, depth);
    if (weights && first) {
      const asked = weights.features && parametersOf(this.dependence(operator), weights.features);
      const common = [...own].filter((key) => (!asked || asked.has(key)) && !weights.own?.includes(key));
      for (const key of common) {
        this.requireAlike(operator, depth, first, key, parameters[key]);
        names[key] = first.parameters[key] ?? '';
        own.delete(key);
      }
      this.link('weights', weights.group, operator, depth, first, common, []);
    }

    const pick = <T>(
      values: Readonly<Record<string, T>>,
      keys: ReadonlySet<string>,
      to: Readonly<Record<string, string>>,
    ) =>
      Object.fromEntries(
        Object.entries(values).flatMap(([key, value]) => (keys.has(key) ? [[to[key] ?? key, value]] : [])),
      );
    this.declare(pick(parameters, own, names));
    Object.assign(this.states, pick(states, ownStates, stateNames));
    const placed: PlacedOperator = {
      operator,
      depth,
      parameters: names,
      states: stateNames,
      ownStates: [...ownStates],
      leader: source,
      takes: source && features ? features.names : [],
    };
    for (const label of [features && `features ${features.group}`, weights && `weights ${weights.group}`])
      if (label && !this.leaders.has(label)) this.leaders.set(label, placed);
    return placed;
  }

  private dependence(operator: Operator): Dependence {
    const key = `${operator.name} ${JSON.stringify(operator.options)}`;
    const found = this.known.get(key) ?? dependenceOf(operator, this.sizes);
    this.known.set(key, found);
    return found;
  }

  private leaderOf(label: string, operator: Operator, depth: number): PlacedOperator | undefined {
    const leader = this.leaders.get(label);
    if (leader && leader.operator.name !== operator.name)
      throw refuse(operator, depth, leader, 'only operators of one name can share');
    return leader;
  }

  private requireFeatures(operator: Operator, depth: number, leader: PlacedOperator, names: readonly string[]): void {
    const [mine, theirs] = [this.dependence(operator).features, this.dependence(leader.operator).features];
    for (const name of names) {
      const [a, b] = [mine[name], theirs[name]];
      if (!a || !b) {
        const known = Object.keys(mine).join(', ');
        throw refuse(operator, depth, leader, `there is no feature "${name}"; they have ${known}`);
      }
      if (a.shape.join() !== b.shape.join())
        throw refuse(
          operator,
          depth,
          leader,
          `the feature "${name}" is [${a.shape.join(', ')}] here and [${b.shape.join(', ')}] there`,
        );
    }
  }

  private requireAlike(
    operator: Operator,
    depth: number,
    leader: PlacedOperator,
    key: string,
    mine: ParameterDeclaration | undefined,
  ): void {
    const theirs = this.parameters[leader.parameters[key] ?? ''];
    if (mine && theirs && mine.shape.join() === theirs.shape.join()) return;
    const text = (one: ParameterDeclaration | undefined) => (one ? `[${one.shape.join(', ')}]` : 'absent');
    throw refuse(operator, depth, leader, `the parameter "${key}" is ${text(mine)} here and ${text(theirs)} there`);
  }

  private link(
    kind: Link['kind'],
    group: string,
    operator: Operator,
    depth: number,
    leader: PlacedOperator,
    names: readonly string[],
    states: readonly string[],
  ): void {
    this.links.push({ kind, group, operator: nameOf(operator), depth, leader: leader.depth, names, states });
  }
}

function refuse(operator: Operator, depth: number, leader: PlacedOperator, why: string): LfmError {
  return new LfmError(
    'bad-sharing',
    `${nameOf(operator)} at depth ${depth} cannot share with ${nameOf(leader.operator)} at depth ${leader.depth}: ${why}.`,
  );
}

/** Parameters that make the named features. */
function parametersOf({ featurize }: Dependence, features: readonly string[]): Set<string> {
  const reached = features.flatMap((name) => [...(featurize.get(`feature.${name}`) ?? [])]);
  return new Set(reached.flatMap((name) => without('parameter.', name) ?? []));
}

/**
 * What an operator still needs of its own once the named features are given: the parameters and states that its output is
 * made of, and which of these states are made of the given features alone, so that the leader's serve.
 */
function neededWith({ featurize, mix }: Dependence, given: readonly string[]) {
  const parameters = new Set<string>();
  const states = new Set<string>();
  const seen = new Set<string>();
  // Names with the half whose output they are: what mix reads of a state is what featurize left.
  const visit = (half: 'featurize' | 'mix', output: string): void => {
    if (seen.has(`${half} ${output}`)) return;
    seen.add(`${half} ${output}`);
    for (const input of (half === 'mix' ? mix : featurize).get(output) ?? []) {
      const [parameter, feature, state] = ['parameter.', 'feature.', 'state.'].map((prefix) => without(prefix, input));
      if (parameter !== undefined) parameters.add(parameter);
      if (feature !== undefined && !given.includes(feature)) visit('featurize', `feature.${feature}`);
      if (state === undefined) continue;
      if (half === 'mix') visit('featurize', `state.${state}`);
      else {
        states.add(state);
        visit('mix', `state.${state}`);
      }
    }
  };
  visit('mix', 'y');
  const onlyGiven = (key: string): boolean => {
    const made = [...(mix.get(`state.${key}`) ?? [])];
    const free = (name: string) =>
      name === 'starts' ||
      name === 'lengths' ||
      name === `state.${key}` ||
      given.some((one) => name === `feature.${one}`);
    const untouched = [...(featurize.get(`state.${key}`) ?? [])].every((name) => name === `state.${key}`);
    return untouched && made.every(free);
  };
  const sharedStates = new Set([...states].filter(onlyGiven));
  return { parameters, states, sharedStates };
}
