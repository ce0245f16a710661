// What a model is trained on beside the next token: a teacher's distribution (distillation), or the outputs of the teacher's
// operators that its own are to replace (alignment). Shapes: B rows, T tokens, N = B T, D hidden.
import type { Tensor } from '../tensor/index.ts';
import { add, cast, div, LfmError, mul, multiplyDims, reshape, softmaxKl, sqrt, sub, sum } from '../tensor/index.ts';
import type { ArrayType } from '../tensor/index.ts';
import { asProduct } from './ends.ts';
import type { Model } from './model.ts';
import type { Operator } from './operator.ts';
import { applyOperator } from './operator.ts';
import type { Tensors } from './parameter.ts';
import { take } from './parameter.ts';
import type { LossCall, TrainingObjective } from './programs.ts';
import { computedIn, defaultChunks, lossContext } from './programs.ts';
import { parameterTypes } from './quantized.ts';

/** What stands before a teacher's parameters among a program's inputs. */
export const teacherPrefix = 'teacher.';

/** A model whose parameters stay as they are, held in `stored`. */
export interface Teacher {
  readonly model: Model;
  readonly stored: 'float32' | 'bfloat16';
}

function teacherInputs({ model, stored }: Teacher): Readonly<Record<string, ArrayType>> {
  return Object.fromEntries(
    Object.entries(parameterTypes(model, stored)).map(([name, type]) => [`${teacherPrefix}${name}`, type]),
  );
}

export interface DistillOptions {
  /** What both logits are divided by. Default: 1. */
  readonly temperature?: number;
  /** The share of the next token's cross entropy in the loss; the rest is the divergence. Default: 0. */
  readonly nextToken?: number;
  /** The teacher's so many likeliest classes, by LFM2's decoupled objective. Default: all classes, by their divergence. */
  readonly topK?: number | undefined;
}

/**
 * KL(teacher || student) over the vocabulary at every position that counts, the teacher run in the same program. Metrics:
 * `divergence`, `studentLoss` and `teacherLoss`, means in nats a token.
 * Errors: `bad-teacher` where the two do not score the same number of classes, or one of them predicts something else.
 */
export function distillation(student: Model, teacher: Teacher, options: DistillOptions = {}): TrainingObjective {
  const { temperature = 1, nextToken = 0, topK } = options;
  const [own, theirs] = [student.head, teacher.model.head];
  if (own.objective || theirs.objective || own.classes !== theirs.classes)
    throw new LfmError(
      'bad-teacher',
      `The student scores ${own.classes} classes, the teacher ${theirs.classes}: expected the same vocabulary of both.`,
    );
  if (topK !== undefined && topK > own.classes)
    throw new LfmError(
      'bad-teacher',
      `topK: expected at most the ${own.classes} classes of the teacher; found ${topK}.`,
    );
  return {
    inputs: teacherInputs(teacher),
    trains: () => true,
    loss: ({ p, inputs, context, options: pass }) => {
      const { batch, length, checkpoint = false } = pass;
      const { hidden_BTD, observed } = student.forward(p, inputs, context, undefined, { checkpoint });
      const known = taught(teacher, { inputs, options: pass });
      const tokens = multiplyDims(batch, length);
      const flat = (given: Tensor) => reshape(given, [tokens, ...given.shape.slice(2)]);
      const product = (model: Model, weights: Tensors, hidden: Tensor) => {
        const [x, w] = asProduct(model.head, weights, flat(hidden));
        return { x, w };
      };
      const { loss, ...metrics } = softmaxKl(
        product(student, p, hidden_BTD),
        product(teacher.model, known.p, known.forward().hidden_BTD),
        flat(take(inputs, 'labels')),
        flat(take(inputs, 'weights')),
        {
          chunks: pass.chunks ?? defaultChunks(tokens, own.classes),
          temperature,
          nextToken,
          ...(topK !== undefined && { topK }),
          ...(own.softCap !== undefined && { softCap: own.softCap }),
          ...(theirs.softCap !== undefined && { teacherSoftCap: theirs.softCap }),
        },
      );
      return { loss, metrics: { ...metrics }, ...(observed && { observed }) };
    },
  };
}

/** The teacher in the present program. */
function taught({ model }: Teacher, { inputs, options }: Pick<LossCall, 'inputs' | 'options'>) {
  const p = computedIn(model, inputs, options.dtype, teacherPrefix);
  const context = lossContext(model, inputs, options);
  return {
    p,
    context,
    forward: (tap?: Parameters<Model['forward']>[4]) => model.forward(p, inputs, context, undefined, tap),
  };
}

/** The operator that mixes tokens at a depth: the first of the layer. Errors: `bad-layers`. */
export function mixerAt({ layers }: Model, depth: number): Operator {
  const mixer = layers[depth]?.blocks[0]?.operators[0];
  if (mixer) return mixer;
  throw new LfmError('bad-layers', `There is no layer ${depth}: the model has layers 0 to ${layers.length - 1}.`);
}

/**
 * Each operator at `depths` on its own, all at once: from what the teacher's operator at its depth takes to what that one
 * gives, over one forward pass of the teacher. The loss is the mean over depths of Σ weight |y - t|² / Σ weight |t|². Nothing
 * but these operators is trained. Metric: `relativeError`, the mean over depths of that quotient's root.
 * Errors: `bad-layers` for a depth that one of the two does not have, `bad-teacher` for another hidden size.
 */
export function alignment(student: Model, teacher: Teacher, depths: readonly number[]): TrainingObjective {
  if (student.hiddenSize !== teacher.model.hiddenSize)
    throw new LfmError(
      'bad-teacher',
      `The student has a hidden size of ${student.hiddenSize}, the teacher of ${teacher.model.hiddenSize}: expected the same.`,
    );
  const placed = depths.map((depth) => {
    const operator = mixerAt(student, depth);
    const prefix = `model.layers.${depth}.${operator.scope}.`;
    return { depth, operator, prefix, theirs: mixerAt(teacher.model, depth) };
  });
  return {
    inputs: teacherInputs(teacher),
    trains: (name) => placed.some(({ prefix }) => name.startsWith(prefix)),
    loss: ({ p, inputs, context, options }) => {
      const weights = take(inputs, 'weights');
      const pairs = new Map<number, { input: Tensor; target: Tensor }>();
      taught(teacher, { inputs, options }).forward({
        tap: ({ operator, depth }, input, target) => {
          if (placed.some((one) => one.depth === depth && one.theirs === operator)) pairs.set(depth, { input, target });
        },
      });
      const errors = placed.map(({ depth, operator, prefix }) => {
        const pair = pairs.get(depth);
        if (!pair) throw new LfmError('bad-layers', `The teacher has no operator at layer ${depth}.`);
        const names = Object.keys(operator.parameters({ hiddenSize: student.hiddenSize }));
        const own = Object.fromEntries(names.map((name) => [name, take(p, `${prefix}${name}`)]));
        const { y } = applyOperator(operator, own, pair.input, {}, context);
        const target = cast(pair.target, 'float32');
        return div(size(sub(cast(y, 'float32'), target), weights), size(target, weights));
      });
      const share = sum(weights, [0, 1]);
      const mean = (values: readonly Tensor[]) =>
        mul(
          mul(
            values.reduce((a, b) => add(a, b)),
            1 / values.length,
          ),
          share,
        );
      return { loss: mean(errors), metrics: { relativeError: mean(errors.map((error) => sqrt(error))) } };
    },
  };
}

/** Σ weight |x|² of x [B, T, D]. */
function size(x: Tensor, weights: Tensor): Tensor {
  return sum(mul(sum(mul(x, x), [2]), weights), [0, 1]);
}
