"""Chat templates, in which prompts and replies are written.

All prompts come from a Jinja chat template, which the adapter's folder then carries, so that a server that renders
messages and tools by it gives the model the very tokens that it was trained with. There are three:

- the model's own, where it shows tools and writes calls in a form that ``replies.parse_reply`` reads back;
- ``tools`` for other models: the model's own template, around which tools are described in the system message and
  calls are written in Hermes tags, ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``; an untrained model is
  asked for the calls as bare JSON instead, which small ones write sooner;
- ``compact``: the query on a line, then the reply. System messages and tools are left out, as the model knows its API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from routenator.chat.replies import CLOSE, OPEN, parse_reply
from routenator.domain.calls import Call

Style = Literal["compact", "tools"]
STYLES: tuple[Style, ...] = ("compact", "tools")
TEMPLATE_FILE = "chat_template.jinja"  # beside an adapter's weights

# A message's text; some servers give a list of parts.
_TEXT = (
    "{%- macro text_of(content) -%}"
    "{%- if content is string -%}{{ content }}"
    "{%- elif content -%}{%- for part in content -%}{{ part.text }}{%- endfor -%}{%- endif -%}"
    "{%- endmacro -%}\n"
)
# A reply: words, then a block for each call.
_REPLY = (
    "{%- macro reply_of(message) -%}"
    "{{ text_of(message.content) }}"
    "{%- for call in message.tool_calls or [] -%}"
    "{%- set call = call.function or call -%}"
    "{%- if message.content or not loop.first -%}{{ '\\n' }}{%- endif -%}"
    f"{{{{ '{OPEN}\\n{{\"name\": ' + (call.name | tojson) + ', \"arguments\": ' }}}}"
    "{%- if call.arguments is string -%}{{ call.arguments }}{%- else -%}{{ call.arguments | tojson }}{%- endif -%}"
    f"{{{{ '}}\\n{CLOSE}' }}}}"
    "{%- endfor -%}"
    "{%- endmacro -%}\n"
)
_COMPACT = (
    _TEXT + _REPLY + "{%- for message in messages -%}"
    "{%- if message.role == 'user' -%}{{ START + text_of(message.content).split() | join(' ') + '\\n' }}"
    "{%- elif message.role == 'assistant' -%}{{ reply_of(message) + eos_token }}"
    "{%- endif -%}"
    "{%- endfor -%}"
)
# The form of each function's call.
_FORMS = """{%- macro forms_of(tools, open, close) -%}
{%- for tool in tools -%}
{%- set function = tool.function or tool -%}
{%- set schema = function.parameters or {} -%}
{%- set names = schema.required or (schema.properties or {}) | list | batch(2) | first | default([]) -%}
{{ open + '{"name": ' + function.name | tojson + ', "arguments": {' }}
{%- for name in names -%}{{ (', ' if not loop.first else '') + name | tojson + ': "..."' }}{%- endfor -%}
{{ '}}' + close }}
{%- endfor -%}
{%- endmacro -%}
"""
_TOOLS = (
    _TEXT
    + _REPLY
    + _FORMS
    + """{%- macro described(tools) -%}
{{ 'You turn a request into calls of these functions:\\n<tools>\\n' }}
{%- for tool in tools -%}
{%- set function = tool.function or tool -%}
{{ {'name': function.name, 'description': function.description, 'parameters': function.parameters} | tojson + '\\n' }}
{%- endfor -%}
{{ '</tools>\\nAnswer with one or more of these calls, and fill in the values from the request:\\n' }}
{{- forms_of(tools, 'OPEN\\n', '\\nCLOSE\\n') + 'If none of them serves the request, answer in a sentence.' }}
{%- endmacro -%}
{%- set ours = namespace(messages=[], head='') -%}
{%- if tools -%}{%- set ours.head = described(tools) -%}{%- endif -%}
{%- for message in messages -%}
{%- set role, text = message.role, text_of(message.content) -%}
{%- if role == 'assistant' -%}{%- set text = reply_of(message) -%}
{%- elif role == 'tool' -%}{%- set role, text = 'user', '<tool_response>\\n' + text + '\\n</tool_response>' -%}
{%- elif role == HEAD_ROLE and ours.head -%}{%- set text = JOINED -%}{%- set ours.head = '' -%}
{%- elif ours.head and HEAD_ROLE == 'system' -%}
{%- set ours.messages = ours.messages + [{'role': 'system', 'content': ours.head}] -%}{%- set ours.head = '' -%}
{%- endif -%}
{%- set ours.messages = ours.messages + [{'role': role, 'content': text}] -%}
{%- endfor -%}
{%- set messages = ours.messages -%}
{%- set tools = none -%}
""".replace("OPEN", OPEN).replace("CLOSE", CLOSE)
)
# For a model that is scored as it is. Small models follow the bare JSON of calls and a last line "Call:", but not tags,
# and not once they may also answer in words: of 42 queries SmolLM2-135M answered 28 with a call, in either case none.
_UNTRAINED = (
    _FORMS
    + """{%- macro described(tools) -%}
{{ 'You turn a request into one function call. These are the functions, as JSON:\\n' }}
{%- for tool in tools -%}
{{ tool.function | tojson(separators=(',', ':')) + '\\n' }}
{%- endfor -%}
{{ 'Answer with one of these calls alone, as JSON, and fill in the values from the request:\\n' }}
{{- forms_of(tools, '', '\\n') }}
{%- endmacro -%}
{%- set head = described(tools) | trim -%}
{%- set asked = 'Request: ' + messages[0].content.split() | join(' ') + '\\nCall:' -%}
{%- set messages = [{'role': 'system', 'content': head}, {'role': 'user', 'content': asked}] if HEAD_ROLE == 'system'
    else [{'role': 'user', 'content': head + '\\n' + asked}] -%}
{%- set tools = none -%}
"""
)
# For models without a template: ChatML, but ended by the model's own end of text.
_PLAIN = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content }}"
    "{{ (eos_token if message.role == 'assistant' else '<|im_end|>') + '\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)

_PROBE_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "probe_one",
        "description": "Probe.",
        "parameters": {"type": "object", "properties": {"value": {"type": "string"}}, "required": ["value"]},
    },
}
_PROBE_CALLS = (Call("probe_one", {"value": "a \u00e9 1"}), Call("probe_one", {"value": "b"}))
_QUESTION = {"role": "user", "content": "probe question"}


def choose_template(style: Style, tokenizer: Any, *, several: bool, untrained: bool = False) -> str:
    """The chat template for a model.

    Args:
        tokenizer: a transformers tokenizer.
        several: whether a reply may have several calls; some models' own templates refuse that.
        untrained: for prompts of a single query to a model that will not be trained.
    """
    if style == "compact":
        ids = tokenizer("a")["input_ids"]
        starts = bool(ids) and tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id
        return _COMPACT.replace("START", "bos_token" if starts else "''")
    own = _own(tokenizer)
    if own is not None and _writes_calls(own, tokenizer, several):
        return own
    role = "system" if own is None or _takes_system(own, tokenizer) else "user"
    return _around(own or _PLAIN, _UNTRAINED if untrained else _TOOLS, role)


def render(
    template: str, tokenizer: Any, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], **more: Any
) -> str:
    """Write a conversation as text, with special tokens."""
    return str(
        tokenizer.apply_chat_template(
            list(messages), tools=list(tools) or None, chat_template=template, tokenize=False, **more
        )
    )


def assistant(calls: Sequence[Call], words: str) -> dict[str, Any]:
    """The OpenAI message of a reply."""
    message: dict[str, Any] = {"role": "assistant", "content": words}
    if calls:
        message["tool_calls"] = [
            # Mistral's template wants ids of nine letters.
            {
                "id": f"call{number:05d}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for number, call in enumerate(calls)
        ]
    return message


def reply_text(
    template: str, tokenizer: Any, question: Sequence[Mapping[str, Any]], tools: Sequence[Any], said: Mapping[str, Any]
) -> str | None:
    """What a template writes after the prompt: the reply and its end; None if it changes the prompt for it."""
    prompt = render(template, tokenizer, question, tools, add_generation_prompt=True)
    whole = render(template, tokenizer, [*question, said], tools)
    return whole[len(prompt) :].rstrip() if whole.startswith(prompt) else None


def plain_reply(tokenizer: Any, said: Mapping[str, Any]) -> str:
    """A reply in Hermes tags, without an end."""
    return render(_TEXT + _REPLY + "{{ reply_of(messages[0]) }}", tokenizer, [said], [])


def tool_parser(template: str, tokenizer: Any) -> str | None:
    """The name of vLLM's parser for the calls that a template writes, if it is one of the common forms."""
    text = reply_text(template, tokenizer, [_QUESTION], [_PROBE_TOOL], assistant(_PROBE_CALLS[:1], "")) or ""
    if OPEN in text:
        return "hermes"
    if "[TOOL_CALLS]" in text:
        return "mistral"
    return "llama3_json" if '"parameters"' in text else None


def _own(tokenizer: Any) -> str | None:
    try:
        return str(tokenizer.get_chat_template(tools=[_PROBE_TOOL]))
    except ValueError:  # it has none
        return None


def _around(own: str, tools: str, role: str) -> str:
    joined = "text + '\\n\\n' + ours.head" if role == "system" else "ours.head + '\\n\\n' + text"
    return tools.replace("HEAD_ROLE", f"'{role}'").replace("JOINED", joined) + own


def _writes_calls(template: str, tokenizer: Any, several: bool) -> bool:
    """Whether a template shows tools, and writes replies that are read back as they were."""
    tools = [_PROBE_TOOL]
    try:
        if "probe_one" not in render(template, tokenizer, [_QUESTION], tools, add_generation_prompt=True):
            return False
        for count in (0, 1, 2) if several else (0, 1):
            said = assistant(_PROBE_CALLS[:count], "" if count else "probe words")
            text = reply_text(template, tokenizer, [_QUESTION], tools, said)
            if text is None or parse_reply(text).calls != _PROBE_CALLS[:count]:
                return False
            if not count and "probe words" not in text:
                return False
    except Exception:  # whatever a template raises: it does not do this
        return False
    return True


def _takes_system(template: str, tokenizer: Any) -> bool:
    try:
        text = render(template, tokenizer, [{"role": "system", "content": "probe head"}, _QUESTION], [])
    except Exception:  # a template refuses by raising
        return False
    return "probe head" in text
