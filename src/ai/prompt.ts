// The AI SDK's prompt as a chat of ours.
import type { LanguageModelV4FilePart, LanguageModelV4Prompt, LanguageModelV4ToolResultPart } from '@ai-sdk/provider';
import { isJsonObject } from '../files/json.ts';
import type { ChatMessage } from '../generate/chat.ts';
import { LfmError } from '../tensor/error.ts';

type Message = LanguageModelV4Prompt[number];

/** Errors: `unsupported-content` for files that are no text; `bad-messages` for calls whose input is no object. */
export function messagesOf(prompt: LanguageModelV4Prompt): ChatMessage[] {
  return prompt.flatMap((message) => {
    switch (message.role) {
      case 'system':
        return { role: 'system', content: message.content } as const;
      case 'user':
        return { role: 'user', content: message.content.map(textOf).join('') } as const;
      case 'assistant':
        return assistantOf(message);
      case 'tool':
        // What a user allowed or denied is known by the result, or by its absence.
        return message.content.flatMap((part) => (part.type === 'tool-result' ? resultOf(part) : []));
    }
  });
}

function assistantOf({ content }: Message & { readonly role: 'assistant' }): ChatMessage {
  const texts: string[] = [];
  const thoughts: string[] = [];
  const toolCalls: NonNullable<ChatMessage['toolCalls']>[number][] = [];
  for (const part of content) {
    if (part.type === 'text' || part.type === 'file') texts.push(textOf(part));
    else if (part.type === 'reasoning') thoughts.push(part.text);
    else if (part.type === 'tool-call') {
      const { toolCallId: id, toolName: name, input } = part;
      if (!isJsonObject(input))
        throw new LfmError('bad-messages', `The input of the call ${id} of ${name}: expected an object.`);
      toolCalls.push({ id, name, arguments: input });
    } else throw unsupported(`a part of type ${part.type} in an assistant's message`);
  }
  return {
    role: 'assistant',
    content: texts.join(''),
    ...(thoughts.length > 0 && { reasoning: thoughts.join('\n') }),
    ...(toolCalls.length > 0 && { toolCalls }),
  };
}

function resultOf({ toolCallId, toolName: name, output }: LanguageModelV4ToolResultPart): ChatMessage {
  return { role: 'tool', name, toolCallId, content: outputText(output) };
}

function outputText(output: LanguageModelV4ToolResultPart['output']): string {
  switch (output.type) {
    case 'text':
    case 'error-text':
      return output.value;
    case 'json':
    case 'error-json':
      return JSON.stringify(output.value);
    case 'execution-denied':
      return output.reason ?? 'The user did not allow this call.';
    case 'content':
      return output.value
        .map((part) => {
          if (part.type === 'custom') throw unsupported('a part of type custom in a result');
          return textOf(part);
        })
        .join('\n');
  }
}

function textOf(part: { readonly type: 'text'; readonly text: string } | LanguageModelV4FilePart): string {
  if (part.type === 'text') return part.text;
  const { mediaType, data } = part;
  if (data.type === 'text') return data.text;
  if (data.type !== 'data' || !/^(text\/|application\/json\b)/.test(mediaType))
    throw unsupported(`a file of type ${mediaType}`);
  const bytes =
    typeof data.data === 'string' ? Uint8Array.from(atob(data.data), (each) => each.charCodeAt(0)) : data.data;
  return new TextDecoder().decode(bytes);
}

function unsupported(what: string): LfmError {
  return new LfmError('unsupported-content', `The prompt holds ${what}; expected text: models read nothing else yet.`);
}
