// The AI SDK's embedding model, specification v4: the mean of the last hidden states, of length 1.
import type { EmbeddingModelV4, EmbeddingModelV4CallOptions, EmbeddingModelV4Result } from '@ai-sdk/provider';
import * as z from 'zod';
import { LfmError } from '../tensor/error.ts';
import { unsupported } from './call.ts';
import type { Server } from './http.ts';
import { post } from './http.ts';
import type { LocalModel } from './local.ts';

/** Vectors in the order of the texts. */
export type Embedder = (
  options: EmbeddingModelV4CallOptions,
) => Promise<{ readonly embeddings: number[][]; readonly tokens: number }>;

export class LfmEmbeddingModel implements EmbeddingModelV4 {
  readonly specificationVersion = 'v4';
  readonly provider: string;
  readonly modelId: string;
  readonly maxEmbeddingsPerCall = 64;
  readonly supportsParallelCalls = true;
  readonly #embed: Embedder;

  constructor(provider: string, modelId: string, embed: Embedder) {
    this.provider = provider;
    this.modelId = modelId;
    this.#embed = embed;
  }

  /** Errors: `no-embeddings` for a model in a worker; those of `LanguageModel.embed` or of the server. */
  async doEmbed(options: EmbeddingModelV4CallOptions): Promise<EmbeddingModelV4Result> {
    const { embeddings, tokens } = await this.#embed(options);
    const asked = options.dimensions !== undefined && options.dimensions !== embeddings[0]?.length;
    const warnings = asked ? [unsupported('dimensions', "a vector is as long as the model's hidden states")] : [];
    return { embeddings, usage: { tokens }, warnings };
  }
}

export async function embedLocally(
  model: LocalModel,
  { values, abortSignal: signal }: EmbeddingModelV4CallOptions,
): ReturnType<Embedder> {
  if (!model.embed)
    throw new LfmError('no-embeddings', 'A model in a worker has no embeddings: use one of this process or a server.');
  const vectors = await Promise.all(values.map((value) => model.embed?.(value, { signal })));
  const embeddings = vectors.map((vector) => {
    const numbers = Array.from(vector ?? []);
    const length = Math.hypot(...numbers);
    return numbers.map((each) => each / (length || 1));
  });
  return { embeddings, tokens: values.reduce((sum, value) => sum + (model.encode?.(value).length ?? 0), 0) };
}

const answerSchema = z.object({
  data: z.array(z.object({ index: z.number(), embedding: z.array(z.number()) })),
  usage: z.object({ prompt_tokens: z.number() }),
});

export async function embedOverHttp(
  server: Server,
  model: string,
  { values: input, headers = {}, abortSignal }: EmbeddingModelV4CallOptions,
): ReturnType<Embedder> {
  const response = await post(server, 'embeddings', { model, input }, headers, abortSignal);
  const answer = answerSchema.safeParse(await response.json());
  if (!answer.success)
    throw new LfmError('bad-answer', `Expected an answer of /v1/embeddings: ${answer.error.message}`);
  const { data, usage } = answer.data;
  return {
    embeddings: data.toSorted((a, b) => a.index - b.index).map(({ embedding }) => embedding),
    tokens: usage.prompt_tokens,
  };
}
