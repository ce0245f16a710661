// Calls of tools in the text of models, in the styles of the LFM family: read from what a model writes, and written for it.
// LFM2 and LFM2.5 write Python's notation, or JSON where they are told to, between control tokens; LFM3 writes XML.

import { isJsonObject, type JsonObject } from '../files/json.ts';
import { formatPythonCall, parsePythonCalls } from './python-calls.ts';

/** 'pythonic': [f(a="x")]; 'json': [{"name": "f", "arguments": {"a": "x"}}]; 'xml': <function=f><parameter=a>x</parameter></function>. */
export type ToolCallStyle = 'pythonic' | 'json' | 'xml';

export interface ToolCall {
  readonly name: string;
  readonly arguments: JsonObject;
}

/** A tool as the OpenAI protocol describes it, or only what stands under its `function`. */
export type Tool = JsonObject;

export interface CallMarkers {
  readonly open: string;
  readonly close: string;
}

const CONTROL: CallMarkers = { open: '<|tool_call_start|>', close: '<|tool_call_end|>' };
const XML: CallMarkers = { open: '<tool_call>', close: '</tool_call>' };

/** What stands around calls, the usual pair first: other families put JSON between LFM3's markers. */
export const callMarkers: Readonly<Record<ToolCallStyle, readonly CallMarkers[]>> = {
  pythonic: [CONTROL],
  json: [CONTROL, XML],
  xml: [XML],
};

const MAX_DEPTH = 64;

/**
 * The calls in what stands between two markers; undefined: it is something else, so the text is to be shown as it stands.
 * `tools` tell which parameters of the style 'xml' are no strings. Never throws.
 */
export function readCalls(body: string, style: ToolCallStyle, tools: readonly Tool[] = []): ToolCall[] | undefined {
  if (style === 'pythonic') return parsePythonCalls(body);
  return style === 'json' ? parseJsonCalls(body) : parseXmlCalls(body, tools);
}

function parseJsonCalls(body: string): ToolCall[] | undefined {
  const json = parseJson(body);
  const calls = (Array.isArray(json) ? json : [json]).map((entry: unknown) => {
    if (!isJsonObject(entry) || typeof entry['name'] !== 'string' || entry['name'] === '') return undefined;
    const own = (key: string) => (Object.hasOwn(entry, key) ? entry[key] : undefined);
    const given = own('arguments') ?? own('parameters') ?? {};
    const parsed = typeof given === 'string' ? parseJson(given) : given;
    return isJsonObject(parsed) ? { name: entry['name'], arguments: parsed } : undefined;
  });
  return calls.length > 0 && calls.every((call) => call !== undefined) ? calls : undefined;
}

/** undefined for what is no JSON, or nested too deep to be worked with. */
function parseJson(text: string): unknown {
  let depth = 0;
  for (const char of text) {
    if (char === '[' || char === '{') depth++;
    if (depth > MAX_DEPTH) return undefined;
    if (char === ']' || char === '}') depth--;
  }
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const FUNCTION = /\s*<function=([^<>\s]{1,256})>/y;
const PARAMETER = /\s*<parameter=([^<>\s]{1,256})>/y;
const END_OF_PARAMETER = '</parameter>';
const END_OF_FUNCTION = /\s*<\/function>/y;

function parseXmlCalls(body: string, tools: readonly Tool[]): ToolCall[] | undefined {
  const calls: ToolCall[] = [];
  let at = 0;
  const match = (pattern: RegExp) => {
    pattern.lastIndex = at;
    const found = pattern.exec(body);
    if (found) at = pattern.lastIndex;
    return found;
  };
  for (let head = match(FUNCTION); head; head = match(FUNCTION)) {
    const [, name = ''] = head;
    const given: JsonObject = {};
    for (let parameter = match(PARAMETER); parameter; parameter = match(PARAMETER)) {
      const [, key = ''] = parameter;
      const end = body.indexOf(END_OF_PARAMETER, at);
      if (end < 0 || Object.hasOwn(given, key)) return undefined;
      // A line break on each side is layout.
      const text = body.slice(at, end).replace(/^\n/, '').replace(/\n$/, '');
      const value = typedValue(text, schemaOf(tools, name, key));
      Object.defineProperty(given, key, { value, enumerable: true, configurable: true, writable: true });
      at = end + END_OF_PARAMETER.length;
    }
    if (!match(END_OF_FUNCTION)) return undefined;
    calls.push({ name, arguments: given });
  }
  return calls.length > 0 && body.slice(at).trim() === '' ? calls : undefined;
}

/** Text, unless the tool's schema wants something else that the text is. */
function typedValue(text: string, schema: unknown): unknown {
  const type = isJsonObject(schema) ? schema['type'] : undefined;
  const types: readonly unknown[] = Array.isArray(type) ? type : [type];
  if (types.every((each) => each === undefined || each === 'string')) return text;
  const json = parseJson(/^\s*(True|False|None)\s*$/.test(text) ? pythonWord(text.trim()) : text);
  const found = json === null ? 'null' : Array.isArray(json) ? 'array' : typeof json;
  const isOf = (each: unknown) => each === found || (each === 'integer' && Number.isInteger(json));
  return json !== undefined && types.some(isOf) ? json : text;
}

function pythonWord(word: string): string {
  return word === 'None' ? 'null' : word.toLowerCase();
}

function schemaOf(tools: readonly Tool[], name: string, key: string): unknown {
  for (const tool of tools) {
    const definition = isJsonObject(tool['function']) ? tool['function'] : tool;
    const parameters = definition['name'] === name ? definition['parameters'] : undefined;
    const properties = isJsonObject(parameters) ? parameters['properties'] : undefined;
    if (isJsonObject(properties) && Object.hasOwn(properties, key)) return properties[key];
  }
  return undefined;
}

/** The calls as a model of the style writes them, markers included; '' for none. `readCalls` reads them back. */
export function renderToolCalls(calls: readonly ToolCall[], style: ToolCallStyle): string {
  if (calls.length === 0) return '';
  if (style === 'xml') return calls.map((call) => `${XML.open}${formatXml(call)}${XML.close}`).join('\n');
  const body =
    style === 'pythonic'
      ? calls.map(formatPythonCall)
      : calls.map((call) => pythonJson({ name: call.name, arguments: call.arguments }));
  return `${CONTROL.open}[${body.join(', ')}]${CONTROL.close}`;
}

function formatXml({ name, arguments: given }: ToolCall): string {
  const parameters = Object.entries(given).map(
    ([key, value]) => `<parameter=${key}>\n${typeof value === 'string' ? value : pythonJson(value)}\n</parameter>`,
  );
  return `\n<function=${name}>\n${parameters.map((each) => `${each}\n`).join('')}</function>\n`;
}

/** How a system prompt names the tools: LFM2 puts control tokens around the list, LFM2.5 does not. */
export function renderTools(tools: readonly Tool[], family: 'lfm2' | 'lfm2.5'): string {
  if (tools.length === 0) return '';
  const list = `[${tools.map(pythonJson).join(', ')}]`;
  return `List of tools: ${family === 'lfm2' ? `<|tool_list_start|>${list}<|tool_list_end|>` : list}`;
}

/** JSON as Python's json.dumps spaces it, on which models were trained. */
function pythonJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const members = Object.entries(value).filter(([, each]) => each !== undefined);
  return `{${members.map(([key, each]) => `${JSON.stringify(key)}: ${pythonJson(each)}`).join(', ')}}`;
}
