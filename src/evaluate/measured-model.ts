// A model opened to be measured: its weights once on an engine, in the type that is computed in.
import type { EngineChoice } from '#engine';
import { openEngine } from '#engine';
import { openSource } from '#source';
import type { Buffers, Engine } from '../engines/engine.ts';
import type { ChatTemplate } from '../generate/chat.ts';
import { chatTemplateTexts, readChatTemplate } from '../generate/chat.ts';
import { requireFit } from '../generate/model.ts';
import { narrowWeights } from '../generate/narrowing.ts';
import { roundWeights } from '../generate/rounded-weights.ts';
import { readGenerationSettings } from '../generate/settings.ts';
import { requireTokenizer } from '../generate/source.ts';
import { disposeBuffers } from '../generate/state.ts';
import type { LoadProgress, Numerics } from '../generate/weights.ts';
import { heldModel, uploadWeights } from '../generate/weights.ts';
import type { Model } from '../liquid/index.ts';
import { withRoundedRows } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import { readTokenizerJson } from '../text/tokenizer-json.ts';
import type { Tokenizer } from '../text/tokenizer.ts';

export interface MeasuredOptions {
  readonly engine?: EngineChoice | undefined;
  /** Of weights and arithmetic. Default float32. */
  readonly dtype?: 'float32' | 'bfloat16' | undefined;
  /** Of packed weights. Default 'exact': the weights' own numbers, as lm_eval computes them. */
  readonly numerics?: Numerics | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface MeasuredModel extends AsyncDisposable {
  readonly name: string;
  readonly engine: Engine;
  readonly dtype: 'float32' | 'bfloat16';
  readonly model: Model;
  readonly weights: Buffers;
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate | undefined;
  readonly stopIds: readonly number[];
  /** The token that stands before a text: the beginning's, else the end's (as lm_eval). */
  readonly before: number;
}

/** Errors: those of `load`; `bad-option` for bfloat16 where an engine or packed weights do not compute in it. */
export async function openMeasured(name: string, options: MeasuredOptions = {}): Promise<MeasuredModel> {
  const { engine: choice = {}, dtype = 'float32', numerics = 'exact', onProgress, signal } = options;
  if (dtype === 'bfloat16' && (choice.name !== 'xla' || numerics !== 'exact'))
    throw new LfmError(
      'bad-option',
      `bfloat16: computed by the engine xla in the numerics exact; found ${choice.name ?? 'onnx'}, ${numerics}.`,
    );
  const source = await openSource(name, { signal });
  const closing: (() => Promise<void>)[] = [() => source.weights.close()];
  const close = async () => {
    for (const one of closing.splice(0).toReversed()) await one();
  };
  try {
    const held = heldModel(source, numerics);
    const tokenizer = readTokenizerJson(requireTokenizer(source));
    requireFit(tokenizer, held.model);
    const { stopIds } = readGenerationSettings(source.generationConfig, source.config);
    const { names } = chatTemplateTexts(source.tokenizerConfig ?? {}, source.chatTemplate);
    const before =
      [names.bos_token, names.eos_token].map((token) => tokenizer.idOf(token)).find((id) => id !== undefined) ??
      stopIds[0];
    if (before === undefined)
      throw new LfmError('tokenizer-missing', `${name}: no token begins or ends a text, so none can stand before one.`);
    const engine = await openEngine(choice);
    closing.push(() => engine.close());
    let model = held.model;
    let weights: Buffers = await uploadWeights(engine, held, source.weights, onProgress, signal);
    closing.push(async () => disposeBuffers(weights));
    if (dtype === 'bfloat16') weights = await narrowWeights(engine, weights);
    // Whatever is measured runs over many rows at once.
    const rounded = engine.keepsOneForm ? undefined : withRoundedRows(model);
    if (rounded) {
      const { all, dispose } = await roundWeights(engine, rounded, weights, source.weights.identity);
      closing.push(dispose);
      model = rounded;
      weights = { ...weights, ...all };
    }
    return {
      name: source.name,
      engine,
      dtype,
      model,
      weights,
      tokenizer,
      template: readChatTemplate(tokenizer, source.tokenizerConfig ?? {}, source.chatTemplate),
      stopIds,
      before,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
