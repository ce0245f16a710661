// What a chat template says to a model where a chat has no system message of its own: found in the text, and replaced.

/** The text between ChatML's marks of a system message that the template spells out. */
const SPELT = /(<\|im_start\|>system(?:\n|\\n))((?:(?!<\|im_end\|>)[^{}])*)(<\|im_end\|>)/g;

/** `config`, a tokenizer_config.json, with another default system message. Throws where its template has not exactly one. */
export function withDefaultSystem(config: object, system: string): object {
  const template: unknown = 'chat_template' in config ? config.chat_template : undefined;
  if (typeof template !== 'string') throw new Error('Expected a chat_template of one text in tokenizer_config.json.');
  const found = [...template.matchAll(SPELT)];
  if (found.length !== 1)
    throw new Error(`Expected one default system message in the chat template, found ${found.length}.`);
  if (/[\\'"{}\n]/.test(system))
    throw new Error('Expected a system message of one line, without quotes, braces or backslashes.');
  return {
    ...config,
    chat_template: template.replace(SPELT, (_, open: string, __, close: string) => open + system + close),
  };
}
