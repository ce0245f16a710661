// From a name to a language model: files read and checked against each other, weights on the engine, programs compiled.
import type { EngineChoice } from '#engine';
import { openEngine } from '#engine';
import { openSource } from '#source';
import type { Engine } from '../engines/engine.ts';
import type { JsonObject } from '../files/json.ts';
import type { Model, OperatorConstructor } from '../liquid/index.ts';
import { readTokenizerJson } from '../text/tokenizer-json.ts';
import { readChatTemplate } from './chat.ts';
import { Generator } from './generator.ts';
import { LanguageModel, requireFit } from './model.ts';
import type { KeyValueDtype } from './row-scales.ts';
import { findScales, holdsInt8Rows, withKnownScales } from './row-scales.ts';
import type { SchedulerOptions } from './scheduler.ts';
import { Scheduler } from './scheduler.ts';
import { readGenerationSettings } from './settings.ts';
import type { FetchOptions, ModelSource } from './source.ts';
import { requireTokenizer } from './source.ts';
import type { LoadProgress, Numerics } from './weights.ts';
import { heldModel, uploadWeights } from './weights.ts';

export type { LoadProgress, Numerics } from './weights.ts';

/** How requests share the model is the scheduler's: `maxBatch`, `maxQueue`, `chunk`, `cacheBytes`, `deterministic`. */
export interface LoadOptions extends SchedulerOptions {
  /** An engine, which stays the caller's, or the name of one, with its settings if need be. Default: the best present. */
  readonly engine?: Engine | EngineChoice | string | undefined;
  /** Operators that the model names and lfm does not have, as `operator(name, define)` answers them. */
  readonly operators?: readonly OperatorConstructor[] | undefined;
  /** Default 'stable'. */
  readonly numerics?: Numerics | undefined;
  /**
   * How keys and values are held between steps. `int8`: a byte each, by scales that are the model's; in `fast` only, where it is
   * the default on the engine onnx. Else `float32`.
   */
  readonly keyValueDtype?: KeyValueDtype | undefined;
  /** LoRA adapters by the names that requests call them: folders of peft's. */
  readonly adapters?: Readonly<Record<string, string>> | undefined;
  /** A smaller model of the same tokenizer that guesses ahead, by name or loaded, which stays the caller's; tokens it guesses at once. */
  readonly draft?: LanguageModel | string | undefined;
  readonly draftTokens?: number | undefined;
  /** Tokens that a text may have, where it is not to be what the model was made for: fewer, or more at one's own risk. */
  readonly contextLength?: number | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
  /** Hears, in a line, of what the model's files hold and the model leaves out. */
  readonly onNotice?: ((line: string) => void) | undefined;
  /** Told of a model that comes from the hub, before it is read. */
  readonly onDownload?: FetchOptions['onDownload'];
  /** In a browser: sent with each request for the model's files and its adapters', such as an API key. */
  readonly headers?: FetchOptions['headers'];
  readonly signal?: AbortSignal | undefined;
}

/**
 * Loads a model by the name of a shipped one, by its folder, by a GGUF file (in a browser, by the folder's URL), or by its name
 * on the hub, OWNER/NAME, from where it is downloaded once: `lfm pull` asks first. Dispose it, or hold it with `await using`.
 * Weights of any floating-point type are computed in float32, packed ones as `numerics` says.
 * Errors: `model-missing`, `model-file-missing`, `unknown-operator`, `weights-mismatch`, `tokenizer-missing`,
 * `vocabulary-mismatch`, `bad-numerics`, `bad-key-values`, those of `loadAdapter`, `draft-mismatch` and what readers say of files that are damaged; the reason of `signal`. Nothing stays allocated then.
 */
export async function load(name: string, options: LoadOptions = {}): Promise<LanguageModel> {
  const source = await openSource(name, options);
  try {
    options.signal?.throwIfAborted();
    return await loadSource(source, options);
  } catch (error) {
    await source.weights.close();
    throw error;
  }
}

async function loadSource(
  source: ModelSource,
  {
    engine: wanted = {},
    operators = [],
    numerics = 'stable',
    keyValueDtype,
    adapters = {},
    draft: guessing,
    draftTokens,
    contextLength,
    headers,
    onProgress,
    onNotice,
    signal,
    ...scheduling
  }: LoadOptions,
): Promise<LanguageModel> {
  const held = heldModel(source, numerics, operators);
  const model = contextLength === undefined ? held.model : { ...held.model, contextLength };
  if (held.parameters.notice !== undefined) onNotice?.(held.parameters.notice);
  const tokenizer = requireTokenizer(source);
  const settings = readGenerationSettings(source.generationConfig, source.config);
  const given = typeof wanted === 'object' && 'compile' in wanted ? wanted : undefined;
  const engine = given ?? (await openEngine(typeof wanted === 'string' ? { name: wanted } : wanted));
  try {
    const holdsInt8 = holdsInt8Rows(model, engine, keyValueDtype);
    const weights = await uploadWeights(engine, held, source.weights, onProgress, signal);
    const { identity, notes } = source.weights;
    const known = holdsInt8 ? await withKnownScales(model, notes) : model;
    const generator = new Generator(engine, known ?? model, weights, { identity });
    let draft: { model: LanguageModel; tokens: number | undefined; isOwned: boolean } | undefined;
    try {
      if (guessing !== undefined) {
        const isOwned = typeof guessing === 'string';
        const smaller = isOwned
          ? await load(guessing, { engine, operators, numerics, keyValueDtype, onNotice, signal })
          : guessing;
        draft = { model: smaller, tokens: draftTokens, isOwned };
      }
      const [text] = await Promise.all([readText(source, tokenizer, model), known && generator.prepare()]);
      if (!known) {
        await findScales(generator, (words) => text.tokenizer.encode(words), notes);
        await generator.prepare();
      }
      const scheduler = new Scheduler(generator, scheduling);
      const language = new LanguageModel({
        name: source.name,
        scheduler,
        ...text,
        parameters: held.parameters,
        draft,
        ...settings,
        engine,
        ownsEngine: !given,
        headers,
        close: () => source.weights.close(),
      });
      for (const [name, folder] of Object.entries(adapters)) await language.loadAdapter(name, folder);
      signal?.throwIfAborted();
      return language;
    } catch (error) {
      if (draft?.isOwned) await draft.model[Symbol.asyncDispose]();
      await generator.close();
      throw error;
    }
  } catch (error) {
    if (!given) await engine.close();
    throw error;
  }
}

/** Its tokenizer and chat template: read while the runtime makes a program on a thread of its own, which is under way by then. */
async function readText(source: ModelSource, file: JsonObject, model: Model) {
  await new Promise((resolve) => void setTimeout(resolve));
  const tokenizer = readTokenizerJson(file);
  requireFit(tokenizer, model);
  return { tokenizer, chatTemplate: readChatTemplate(tokenizer, source.tokenizerConfig ?? {}, source.chatTemplate) };
}
