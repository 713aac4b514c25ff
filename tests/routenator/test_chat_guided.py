"""Replies restricted to valid calls of an API, or to none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routenator.chat.guided import structural_tag
from routenator.domain.domain import Domain
from tests.routenator.tiny_model import byte_tokenizer

POSTER = {"content_type": "poster", "extracted_prompt": 'a "cat", thé'}
BOOK = {"city": "Oslo", "people": 2}


def block(name: str, arguments: Any) -> str:
    call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{call}\n</tool_call>"


@pytest.fixture(scope="module")
def accepts(tiny: Domain) -> Any:
    import xgrammar

    tokenizer = byte_tokenizer()
    compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo.from_huggingface(tokenizer))
    compiled = compiler.compile_structural_tag(structural_tag(tiny.tools()))

    def whole(text: str) -> bool:
        matcher = xgrammar.GrammarMatcher(compiled)
        return matcher.accept_string(text) and matcher.accept_token(tokenizer.eos_token_id)

    return whole


@pytest.mark.parametrize(
    "text",
    [
        "Sorry, I cannot do that.",
        '{"name": "anything", "arguments": {}} is words',
        block("search", POSTER),
        block("book", BOOK),
        block("search", POSTER) + "\n" + block("book", BOOK),
    ],
)
def test_words_and_valid_calls_can_be_said(accepts: Any, text: str) -> None:
    assert accepts(text)


@pytest.mark.parametrize(
    "text",
    [
        block("serch", POSTER),
        block("search", {**POSTER, "content_type": "posters"}),
        block("search", {"content_type": "poster"}),
        block("search", {**POSTER, "colour": "red"}),
        block("book", {**BOOK, "people": "two"}),
        block("search", POSTER)[:-5],
        "<tool_call>nothing</tool_call>",
        block("search", POSTER) + block("search", {}),
    ],
)
def test_calls_that_the_api_refuses_cannot_be_said(accepts: Any, text: str) -> None:
    """Of 319 golden replies 40 had a value outside its enum."""
    assert not accepts(text)
