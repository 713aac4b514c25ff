"""Prompts and replies: what training sees is what a server's chat template writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routenator.chat.prompts import PromptFormat
from routenator.chat.replies import parse_reply
from routenator.chat.templates import STYLES, Style, choose_template, tool_parser
from routenator.domain.calls import Call
from tests.routenator.tiny_model import TEMPLATE, TOOLS, byte_tokenizer

SEARCH = Call("search", {"content_type": "poster", "extracted_prompt": 'thé "fox"'})
PING = Call("ping", {"host": "a"})
REPLIES: list[tuple[list[Call], str]] = [([], "Sorry, no."), ([SEARCH], ""), ([SEARCH, PING], "")]

# Chat templates in the manner of common models: how they show tools, write calls and refuse.
_CHATML = "{{ '<s>' + m.role + '\n' }}{{ m.content or '' }}"
OWN = {
    # Tools in the system message, calls in tags.
    "hermes": "{% if tools %}<s>system\nTools: {{ tools | tojson }}</s>\n{% endif %}{% for m in messages %}"
    + _CHATML
    + "{% for c in m.tool_calls or [] %}{% if not loop.first %}{{ '\n' }}{% endif %}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}'
    "</s>\n{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}",
    # One call alone, as bare JSON with `parameters`; several are refused.
    "llama3_json": "{% for m in messages %}{% if m.tool_calls %}{% if m.tool_calls | length != 1 %}"
    "{{ raise_exception('one call at a time') }}{% endif %}{% set c = m.tool_calls[0].function %}<s>assistant\n"
    '{"name": "{{ c.name }}", "parameters": {{ c.arguments | tojson }}}</s>\n'
    "{% else %}{{ '<s>' + m.role + '\n' }}{% if m.role == 'user' and tools %}{% for t in tools %}{{ t | tojson }}\n"
    "{% endfor %}{% endif %}{{ m.content | trim }}</s>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}",
    # A list of all calls behind a mark.
    "mistral": "{% for m in messages %}{% if m.role == 'user' %}{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}"
    "[/AVAILABLE_TOOLS]{% endif %}[INST] {{ m.content }}[/INST]{% elif m.tool_calls %}[TOOL_CALLS] ["
    "{% for c in m.tool_calls %}{% if c.id | length != 9 %}{{ raise_exception('id') }}{% endif %}"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}'
    "{% if not loop.last %}, {% endif %}{% endfor %}]</s>{% else %} {{ m.content }}</s>{% endif %}{% endfor %}",
}
OTHER = {
    "no tools": TEMPLATE,
    "no system message": "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    + TEMPLATE,
    "tools, but calls in a form of its own": OWN["hermes"]
    .replace("<tool_call>", "<call>")
    .replace('"arguments"', '"a"'),
    "no template": None,
}


def tokenizer_of(template: str | None) -> Any:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("template", [*OWN.values(), *OTHER.values()], ids=[*OWN, *OTHER])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("calls", "words"), REPLIES)
def test_training_sees_the_tokens_that_a_server_renders(
    template: str | None, style: Style, calls: list[Call], words: str
) -> None:
    """The adapter shipped the base model's chat template, though it was trained on another prompt."""
    tokenizer = tokenizer_of(template)
    if template == OWN["llama3_json"] and style == "tools" and len(calls) < 2:
        form = PromptFormat(style, TOOLS, tokenizer, several=False)
    else:
        form = PromptFormat(style, TOOLS, tokenizer)
    tokenizer.chat_template = form.template  # as in the adapter's folder
    query = "a fox  and\nmore "
    asked = [{"role": "user", "content": query}]
    tools = json.loads(json.dumps(TOOLS))
    rendered = tokenizer.apply_chat_template(asked, tools=tools, add_generation_prompt=True, return_dict=False)
    assert form.prompt_ids(query) == rendered
    answer: dict[str, Any] = {"role": "assistant", "content": words}
    if calls:
        answer["tool_calls"] = [
            {"id": "123456789", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
    whole = tokenizer.apply_chat_template([*asked, answer], tools=tools, return_dict=False)
    ours = form.prompt_ids(query) + form.reply_ids(query, calls, words)
    if tool_parser(form.template, tokenizer) != "mistral":  # its calls have ids, which differ
        assert whole[: len(ours)] == ours
        assert tokenizer.decode(whole[len(ours) :]).strip() == ""
    assert ours[-1] == tokenizer.eos_token_id
    said = parse_reply(tokenizer.decode(form.reply_ids(query, calls, words), skip_special_tokens=True))
    assert said.problem is None and list(said.calls) == calls


@pytest.mark.parametrize("parser", OWN)
def test_a_models_own_template_is_used_where_it_shows_tools_and_writes_calls(parser: str) -> None:
    tokenizer = tokenizer_of(OWN[parser])
    chosen = choose_template("tools", tokenizer, several=False)
    assert chosen == OWN[parser]
    assert tool_parser(chosen, tokenizer) == parser


def test_a_template_that_refuses_several_calls_gets_tags_where_replies_have_several() -> None:
    tokenizer = tokenizer_of(OWN["llama3_json"])
    chosen = choose_template("tools", tokenizer, several=True)
    assert chosen != OWN["llama3_json"] and tool_parser(chosen, tokenizer) == "hermes"


@pytest.mark.parametrize("name", OTHER)
def test_other_models_get_tags_around_their_own_template(name: str) -> None:
    tokenizer = tokenizer_of(OTHER[name])
    form = PromptFormat("tools", TOOLS, tokenizer)
    text = form.prompt_text("find cats")
    assert tool_parser(form.template, tokenizer) == "hermes"
    for tool in TOOLS:
        assert json.dumps(tool["function"]) in text
    assert '<tool_call>\n{"name": "ping", "arguments": {"host": "..."}}\n</tool_call>' in text
    first = "user" if name == "no system message" else "system"
    assert text.startswith(f"<|im_start|>{first}\n" if name == "no template" else f"<s>{first}\n")


@pytest.mark.parametrize("name", OTHER)
def test_an_untrained_model_is_asked_for_bare_json(name: str) -> None:
    """Asked for tags, SmolLM2-135M answered all golden queries of `creative` in words: anything beats that."""
    tokenizer = tokenizer_of(OTHER[name])
    form = PromptFormat("tools", TOOLS, tokenizer, untrained=True)
    text = form.prompt_text(" find \n cats ")
    for tool in TOOLS:
        assert json.dumps(tool["function"], separators=(",", ":")) + "\n" in text
    assert '{"name": "ping", "arguments": {"host": "..."}}' in text and "<tool_call>" not in text
    assert text.count("Request: find cats\nCall:") == 1 and text.index("ping") < text.index("Request: ")
    assert "ping" not in form.prompt_text("q", ["ping"])
    turns = text.count("<s>") or text.count("<|im_start|>")
    assert turns == (2 if name == "no system message" else 3)  # the last is the reply to come


@pytest.mark.parametrize("parser", OWN)
def test_an_untrained_model_that_knows_tools_is_asked_in_its_own_template(parser: str) -> None:
    tokenizer = tokenizer_of(OWN[parser])
    assert choose_template("tools", tokenizer, several=False, untrained=True) == OWN[parser]


def test_a_dialogue_with_a_system_message_and_a_tools_result_is_written() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = choose_template("tools", tokenizer, several=True)
    asked = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "ping a"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"type": "function", "function": {"name": "ping", "arguments": '{"host": "a"}'}}],
        },
        {"role": "tool", "content": "12 ms", "tool_call_id": "1"},
    ]
    text = tokenizer.apply_chat_template(asked, tools=TOOLS, add_generation_prompt=True, tokenize=False)
    assert text.startswith("<s>system\nBe brief.\n\nYou turn")
    assert text.endswith(
        '<s>user\nping a</s>\n<s>assistant\n<tool_call>\n{"name": "ping", "arguments": {"host": "a"}}\n</tool_call>'
        "</s>\n<s>user\n<tool_response>\n12 ms\n</tool_response></s>\n<s>assistant\n"
    )
    without = tokenizer.apply_chat_template(asked[:2], add_generation_prompt=True, tokenize=False)
    assert without == "<s>system\nBe brief.</s>\n<s>user\nping a</s>\n<s>assistant\n"


def test_the_compact_prompt_is_the_query_on_a_line_whatever_a_client_sends_with_it() -> None:
    tokenizer = byte_tokenizer()
    form = PromptFormat("compact", TOOLS, tokenizer)
    assert tokenizer.decode(form.prompt_ids("  find \t cats ")) == "find cats\n"
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "find cats"}]
    text = tokenizer.apply_chat_template(asked, tools=TOOLS, chat_template=form.template, tokenize=False)
    assert text == "find cats\n"


def test_a_tokenizer_that_starts_texts_with_a_token_starts_compact_prompts_with_it() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = byte_tokenizer()
    tokenizer.bos_token = "<s>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    form = PromptFormat("compact", TOOLS, tokenizer)
    assert form.prompt_ids("cats") == tokenizer("cats\n")["input_ids"]


def test_arguments_are_in_the_schemas_order_and_hidden_functions_are_not_shown() -> None:
    tokenizer = byte_tokenizer()
    form = PromptFormat("tools", TOOLS, tokenizer)
    turned = Call("search", {"more": 1, "extracted_prompt": "thé", "content_type": "poster"})
    assert '"arguments": {"content_type": "poster", "extracted_prompt": "thé", "more": 1}' in tokenizer.decode(
        form.reply_ids("q", [turned])
    )
    assert "ping" not in form.prompt_text("q", ["ping"]) and "search" in form.prompt_text("q", ["ping"])


def test_without_an_end_of_turn_in_the_template_the_reply_ends_with_the_end_of_text() -> None:
    bare = byte_tokenizer("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}")
    assert PromptFormat("tools", TOOLS, bare).reply_ids("q", [], "no")[-3:] == [
        *bare("no")["input_ids"],
        bare.eos_token_id,
    ]


def test_a_template_that_writes_the_prompt_otherwise_after_a_reply_still_gets_whole_replies() -> None:
    """As templates of thinking models do."""
    tokenizer = byte_tokenizer(TEMPLATE.replace("<s>assistant\n{% endif %}", "<s>assistant\n<think>\n{% endif %}"))
    form = PromptFormat("tools", TOOLS, tokenizer)
    assert form.prompt_text("q").endswith("<think>\n")
    reply = tokenizer.decode(form.reply_ids("q", [PING]))
    assert reply == '<tool_call>\n{"name": "ping", "arguments": {"host": "a"}}\n</tool_call></s>'
