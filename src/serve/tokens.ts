// POST /tokenize, /detokenize and /v1/embeddings: what needs a model's tokenizer or its hidden states, and writes no text.
import type { Context } from 'hono';
import { encodePrompt, promptsOf, requireShort } from './prompts.ts';
import { detokenizeRequest, embeddingRequest, readRequest, tokenizeRequest } from './requests.ts';
import type { Env, Service } from './service.ts';
import { begin, readJson } from './service.ts';

export async function tokenize(c: Context<Env>, service: Service): Promise<Response> {
  const request = readRequest(tokenizeRequest, await readJson(c));
  const { prompt, add_special_tokens: addSpecialTokens = true, return_token_strs: wantsTexts = false } = request;
  // As the `tokenizers` library does; whoever asks gets ids, not an answer, and so cannot deceive a model.
  const parseSpecialTokens = true;
  const { model, end } = await begin(c, service, request.model, 1);
  try {
    requireShort(model, prompt.length);
    const tokens = Array.from(model.tokenizer.encode(prompt, { addSpecialTokens, parseSpecialTokens }));
    return c.json({
      tokens,
      count: tokens.length,
      max_model_len: model.contextLength,
      ...(wantsTexts && { token_strs: tokens.map((id) => model.tokenizer.decode([id])) }),
    });
  } finally {
    end();
  }
}

/** What lm-evaluation-harness asks before it asks for anything else; `?model=` names another than the first. */
export async function tokenizerInfo(c: Context<Env>, service: Service): Promise<Response> {
  const { model, end } = await begin(c, service, c.req.query('model'), 1);
  try {
    const { sources = {}, names = {} } = model.chats ? model.chatTemplate : {};
    const nameOf = (id: number | undefined) => (id === undefined ? undefined : model.tokenizer.decode([id]));
    return c.json({
      vocab_size: model.tokenizer.vocabSize,
      model_max_length: model.contextLength,
      bos_token: names['bos_token'] || (nameOf(model.tokenizer.definition.prefix[0]) ?? null),
      eos_token: names['eos_token'] || (nameOf(model.stopIds[0]) ?? null),
      chat_template: sources['default'] ?? null,
    });
  } finally {
    end();
  }
}

export async function detokenize(c: Context<Env>, service: Service): Promise<Response> {
  const request = readRequest(detokenizeRequest, await readJson(c));
  const { model, end } = await begin(c, service, request.model, 1);
  try {
    model.generator.check(request.tokens);
    return c.json({ prompt: model.tokenizer.decode(request.tokens) });
  } finally {
    end();
  }
}

/** Vectors of length 1, as OpenAI's are: the mean of the hidden states after the last norm. */
export async function embeddings(c: Context<Env>, service: Service): Promise<Response> {
  const request = readRequest(embeddingRequest, await readJson(c));
  const given = promptsOf(request.input);
  const { model, adapter, signal, record, end } = await begin(c, service, request.model, given.length);
  try {
    const inputs = given.map((input) => encodePrompt(model, input));
    const vectors = await Promise.all(
      inputs.map((tokens) => model.scheduler.embed(tokens, 'mean', { tenant: c.var.tenant, adapter }, signal)),
    );
    const promptTokens = inputs.reduce((sum, { length }) => sum + length, 0);
    record.sawUsage({ promptTokens, completionTokens: 0, cachedTokens: 0 });
    return c.json({
      object: 'list',
      model: request.model ?? model.name,
      data: vectors.map((vector, index) => ({
        object: 'embedding',
        index,
        embedding: request.encoding_format === 'base64' ? base64(unit(vector)) : Array.from(unit(vector)),
      })),
      usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
    });
  } finally {
    end();
  }
}

function unit(vector: Float32Array): Float32Array {
  const length = Math.hypot(...vector);
  return length > 0 ? vector.map((value) => value / length) : vector;
}

/** float32, little-endian, as clients read it. */
function base64(vector: Float32Array): string {
  const bytes = new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
}
