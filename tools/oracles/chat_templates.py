"""Prompts that transformers makes of chats with tools, documents and thoughts: test/fixtures/chat/templates.json.

The templates are written here after what is known of the LFM family's formats: LFM2 (tools between control tokens), LFM2.5
(tools without them, calls in Python's notation, old thoughts left out, today's date), LFM3 (thoughts, calls as XML); and one
of documents.

Usage: python tools/oracles/chat_templates.py            writes the fixture
       python tools/oracles/chat_templates.py --check    compares it with what this machine computes
"""

import datetime
import json
import pathlib
import sys

from transformers.utils import chat_template_utils

PATH = pathlib.Path(__file__).resolve().parents[2] / "test" / "fixtures" / "chat" / "templates.json"
NOW = datetime.datetime(2026, 3, 5, 14, 7, 9)

LFM2 = """{{- bos_token -}}
{%- set ns = namespace(system="", first=0) -%}
{%- if messages[0]["role"] == "system" -%}
    {%- set ns.system = messages[0]["content"] -%}
    {%- set ns.first = 1 -%}
{%- endif -%}
{%- if tools -%}
    {%- set ns.system = ns.system + ("\\n" if ns.system else "") + "List of tools: <|tool_list_start|>[" -%}
    {%- for tool in tools -%}
        {%- set ns.system = ns.system + (tool if tool is string else tool | tojson) -%}
        {%- if not loop.last -%}{%- set ns.system = ns.system + ", " -%}{%- endif -%}
    {%- endfor -%}
    {%- set ns.system = ns.system + "]<|tool_list_end|>" -%}
{%- endif -%}
{%- if ns.system -%}
    {{- "<|im_start|>system\\n" + ns.system + "<|im_end|>\\n" -}}
{%- endif -%}
{%- for message in messages[ns.first:] -%}
    {{- "<|im_start|>" + message["role"] + "\\n" -}}
    {%- if message["role"] == "tool" -%}
        {{- "<|tool_response_start|>" + message["content"] + "<|tool_response_end|>" -}}
    {%- else -%}
        {{- message["content"] -}}
    {%- endif -%}
    {{- "<|im_end|>\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "<|im_start|>assistant\\n" -}}
{%- endif -%}
"""

LFM25 = """{{- bos_token -}}
{%- macro python(value) -%}
    {%- if value is string -%}{{- value | tojson -}}
    {%- elif value is boolean -%}{{- "True" if value else "False" -}}
    {%- elif value is none -%}{{- "None" -}}
    {%- else -%}{{- value | tojson -}}{%- endif -%}
{%- endmacro -%}
{%- set keeps = keep_past_thinking | default(false) -%}
{%- set ns = namespace(last=-1) -%}
{%- for message in messages -%}
    {%- if message.role == "assistant" -%}{%- set ns.last = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{{- "<|im_start|>system\\nToday's date: " + strftime_now("%Y-%m-%d (%A, %d %B)") -}}
{%- if tools -%}
    {{- "\\nList of tools: [" -}}
    {%- for tool in tools -%}{{- tool | tojson -}}{{- ", " if not loop.last -}}{%- endfor -%}
    {{- "]" -}}
{%- endif -%}
{{- "<|im_end|>\\n" -}}
{% for message in messages %}
    {{- "<|im_start|>" + message.role + "\\n" -}}
    {%- if message.role == "assistant" -%}
        {% generation %}
        {%- set content = message.content -%}
        {%- if not keeps and loop.index0 != ns.last and "</think>" in content -%}
            {%- set content = content.split("</think>")[-1] | trim -%}
        {%- endif -%}
        {{- content -}}
        {%- if message.tool_calls is defined -%}
            {{- "<|tool_call_start|>[" -}}
            {%- for call in message.tool_calls -%}
                {{- call.function.name + "(" -}}
                {%- for key, value in call.function.arguments.items() -%}
                    {{- key + "=" + python(value) -}}{{- ", " if not loop.last -}}
                {%- endfor -%}
                {{- ")" -}}{{- ", " if not loop.last -}}
            {%- endfor -%}
            {{- "]<|tool_call_end|>" -}}
        {%- endif -%}
        {% endgeneration %}
    {%- elif message.role == "tool" and not message.name -%}
        {{- raise_exception("a tool's message needs a name") -}}
    {%- else -%}
        {{- message.content | trim -}}
    {%- endif -%}
    {{- "<|im_end|>\\n" -}}
{% endfor %}
{% if add_generation_prompt %}
    {{- "<|im_start|>assistant\\n" }}
{% endif %}
"""

LFM3 = """{{- bos_token }}
{%- for message in messages %}
{{- "<|im_start|>" ~ message.role ~ "\\n" }}
{%- if message.reasoning_content %}
{{- "<think>\\n" ~ message.reasoning_content.strip("\\n") ~ "\\n</think>\\n\\n" }}
{%- endif %}
{{- message.content }}
{%- for call in message.tool_calls or [] %}
{{- "<tool_call>\\n<function=" ~ call.function.name ~ ">\\n" }}
{%- for key, value in call.function.arguments | items %}
{{- "<parameter=" ~ key ~ ">\\n" ~ (value if value is string else value | tojson) ~ "\\n</parameter>\\n" }}
{%- endfor %}
{{- "</function>\\n</tool_call>" }}{{ "\\n" if not loop.last }}
{%- endfor %}
{{- "<|im_end|>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- "<|im_start|>assistant\\n" }}
{%- if enable_thinking is defined and not enable_thinking %}{{ "<think>\\n\\n</think>\\n\\n" }}{% endif %}
{%- endif %}"""

RAG = """{% for document in documents or [] %}
Document {{ loop.index }}: {{ document.title }}
{{ document["text"] | trim }}
{% endfor %}
{% for message in messages %}
    {% if loop.index0 is odd %}[{% endif %}{{ message.role | upper }}{% if loop.index0 is odd %}]{% endif %}: {{ message.content.strip() }}
{% endfor %}
{{ "ASSISTANT:" if add_generation_prompt else "" }}"""

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather \u2014 \"now\" or <later>",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Z\u00fcrich", "\u6771\u4eac"]}, "days": {"type": "integer", "default": 1.5}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "stop", "parameters": {}}},
]
DOCUMENTS = [{"title": "Brook", "text": "  It runs.\n"}, {"title": "Mill", "text": "It turns."}]
USER = {"role": "user", "content": "  What is it like in Z\u00fcrich? <b>\U0001f30a</b>\n"}
SYSTEM = {"role": "system", "content": "Be brief."}
CALLS = {
    "role": "assistant",
    "content": "",
    "reasoning": "\nThey ask about \"Z\u00fcrich\".\n",
    "tool_calls": [
        {"type": "function", "function": {"name": "weather", "arguments": {"city": "Z\u00fcrich", "days": 2, "exact": True, "near": None, "share": 0.25}}},
        {"type": "function", "function": {"name": "stop", "arguments": {}}},
    ],
}
RESULT = {"role": "tool", "name": "weather", "content": '{"sky": "blue"}'}
THOUGHT = {"role": "assistant", "content": "<think>blue, so</think>\n\nIt is sunny."}
HALF = {"role": "assistant", "content": "It is  "}

CHATS = [
    ([USER], {}),
    ([USER], {"add_generation_prompt": True}),
    ([SYSTEM, USER, {"role": "assistant", "content": "Fine."}, USER], {"add_generation_prompt": True}),
    ([SYSTEM, USER], {"tools": TOOLS, "add_generation_prompt": True}),
    ([USER, CALLS, RESULT], {"tools": TOOLS, "add_generation_prompt": True}),
    ([USER, CALLS, RESULT, THOUGHT, USER, THOUGHT, USER], {"add_generation_prompt": True}),
    ([USER, THOUGHT, USER, THOUGHT, USER], {"keep_past_thinking": True, "enable_thinking": False, "add_generation_prompt": True}),
    ([USER], {"documents": DOCUMENTS, "add_generation_prompt": True}),
    ([SYSTEM, USER, HALF], {"continue_final_message": True}),
    ([USER, {"role": "assistant", "content": "twice It is It is"}], {"continue_final_message": True}),
]


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def main():
    chat_template_utils.datetime = Clock
    templates = {"lfm2": LFM2, "lfm2.5": LFM25, "lfm3": LFM3, "rag": RAG}
    cases = []
    for name, template in templates.items():
        for messages, options in CHATS:
            rendered, _ = chat_template_utils.render_jinja_template(
                [json.loads(json.dumps(messages))], chat_template=template, bos_token="<|startoftext|>", **options
            )
            cases.append({"template": name, "messages": messages, "options": options, "text": rendered[0]})
    formats = "%Y %y %m %d %e %j %H %I %M %S %B %b %A %a %p %F %T %% %-d %-m"
    dates = [datetime.datetime(2026, 3, 5, 14, 7, 9), datetime.datetime(2024, 12, 31, 0, 0, 0), datetime.datetime(1999, 1, 1, 12, 30, 59)]
    times = [{"iso": date.isoformat(), "text": date.strftime(formats)} for date in dates]
    found = {"now": NOW.isoformat(), "templates": templates, "cases": cases, "formats": formats, "times": times}
    text = json.dumps(found, ensure_ascii=False, indent=1) + "\n"
    if "--check" not in sys.argv:
        PATH.write_text(text)
    elif PATH.read_text() != text:
        sys.exit("differs from the fixture: templates.json")
    print("the fixture agrees" if "--check" in sys.argv else f"wrote {PATH}, {len(text)} characters")


if __name__ == "__main__":
    main()
