// A request's messages and tools as the model's chat template takes them.
import type { ChatMessage } from '../generate/chat.ts';
import type { Tool, ToolCall } from '../generate/tool-calls.ts';
import { isJsonObject } from '../files/json.ts';
import { RequestError } from './errors.ts';
import type { ChatRequest, RequestMessage } from './requests.ts';

const MAX_DEPTH = 64;
/** Of one answer that is kept to calls. */
const MOST_CALLS = 16;

/** `developer` is OpenAI's newer word for `system`. Errors: `invalid-request`, naming the message. */
export function messagesOf({ messages }: ChatRequest): ChatMessage[] {
  /** Names of tools by the ids of their calls. */
  const called = new Map<string, string>();
  return messages.map((message, at) => {
    const { content, name } = message;
    const given = { content: textOf(content), ...(name !== undefined && { name }) };
    if (message.role === 'tool') {
      const tool = called.get(message.tool_call_id);
      if (tool === undefined)
        throw invalid(`messages.${at}.tool_call_id`, 'expected the id of a call in an assistant message before it');
      // OpenAI's messages need not name the tool; some templates do.
      return { role: 'tool', name: tool, ...given, toolCallId: message.tool_call_id };
    }
    if (message.role !== 'assistant') return { role: message.role === 'user' ? 'user' : 'system', ...given };
    const { reasoning_content: reasoning, tool_calls: calls } = message;
    for (const { id, function: tool } of calls ?? []) called.set(id, tool.name);
    return {
      role: 'assistant',
      ...given,
      ...(reasoning !== undefined && { reasoning }),
      ...(calls && {
        toolCalls: calls.map(({ id, function: { name: tool, arguments: text } }, i) => ({
          id,
          ...callOf(tool, text, `messages.${at}.tool_calls.${i}.function.arguments`),
        })),
      }),
    };
  });
}

/** Those that the model is told of: none where it may call none. */
export function toolsOf({ tools = [], tool_choice: choice }: ChatRequest): readonly Tool[] {
  return choice === 'none' ? [] : tools;
}

/** What the answer's calls are kept to; undefined: nothing. Errors: `invalid-request` where a call must come of no tool. */
export function callsWanted({ tools = [], tool_choice: choice, parallel_tool_calls: parallel }: ChatRequest) {
  const named = typeof choice === 'object' ? choice.function.name : undefined;
  const isRequired = choice === 'required' || named !== undefined;
  const isStrict =
    choice !== 'none' && tools.some((tool) => isJsonObject(tool['function']) && tool['function']['strict'] === true);
  if (!isRequired && !isStrict) return undefined;
  const allowed = tools.filter((tool) => {
    const definition = tool['function'];
    return named === undefined || (isJsonObject(definition) && definition['name'] === named);
  });
  if (allowed.length === 0)
    throw invalid(
      'tool_choice',
      named === undefined ? 'expected tools with it' : `there is no tool ${JSON.stringify(named)}`,
    );
  return { tools: allowed, isRequired, most: named !== undefined || parallel === false ? 1 : MOST_CALLS };
}

/** Characters of all the texts in something, and of their keys. Errors: `invalid-request` where it is nested too deep. */
export function lengthOf(value: unknown, depth = 0): number {
  if (typeof value === 'string') return value.length;
  if (typeof value !== 'object' || value === null) return 0;
  if (depth > MAX_DEPTH) {
    const what = `A message, a tool or chat_template_kwargs is nested more than ${MAX_DEPTH} deep: flatten it.`;
    throw new RequestError('invalid-request', what, { status: 400 });
  }
  return Object.entries(value).reduce((sum, [key, each]) => sum + key.length + lengthOf(each, depth + 1), 0);
}

function textOf(content: RequestMessage['content']): string {
  return typeof content === 'string' ? content : (content ?? []).map(({ text }) => text).join('');
}

/** Clients send arguments as text; templates want what it says. */
function callOf(name: string, text: string, param: string): ToolCall {
  try {
    const given: unknown = JSON.parse(text === '' ? '{}' : text);
    if (isJsonObject(given)) return { name, arguments: given };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw invalid(param, 'expected the text of a JSON object');
}

function invalid(param: string, what: string): RequestError {
  return new RequestError('invalid-request', `${param}: ${what}.`, { status: 400, param });
}
