// From a request's parameters to the generator's options.
import type { JsonObject } from '../files/json.ts';
import type { TextOptions } from '../generate/model.ts';
import type { SharedRequest } from './requests.ts';

/** What a request does not say is left to the model's own generation_config.json. */
export function textOptions(request: SharedRequest, rest: TextOptions): TextOptions {
  const { seed, top_k: topK } = request;
  return {
    temperature: request.temperature,
    topP: request.top_p,
    topK: topK === undefined ? undefined : Math.max(0, topK),
    minP: request.min_p,
    typicalP: request.typical_p,
    repetitionPenalty: request.repetition_penalty,
    presencePenalty: request.presence_penalty,
    frequencyPenalty: request.frequency_penalty,
    logitBias: request.logit_bias,
    seed: seed === undefined || seed < 0 ? undefined : seed,
    stop: request.stop,
    schema: schemaOf(request),
    regex: request.regex,
    grammar: request.grammar,
    ...rest,
  };
}

/** Whether `strict` or not: it costs nothing here. */
function schemaOf({ response_format: format }: SharedRequest): JsonObject | undefined {
  if (format?.type === 'json_schema') return format.json_schema.schema;
  return format?.type === 'json_object' ? { type: 'object' } : undefined;
}
