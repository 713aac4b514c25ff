"""Counts the tokens of a domain's rows by the trained model's tokenizer alone, before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from routenator.authoring.check import probe_config
from routenator.authoring.drawn import Drawn
from routenator.chat.prompts import PromptFormat
from routenator.chat.templates import STYLES, Style
from routenator.domain.calls import Call
from routenator.domain.domain import Domain
from routenator.errors import InputError
from routenator.extras import require

_MOST = 32  # rows counted; the longest in characters


class RowLength(NamedTuple):
    """Tokens of the longest of the drawn rows in one style of prompt.

    Attributes:
        prompt: tokens of its prompt.
        total: tokens of prompt and answer.
    """

    style: Style
    prompt: int
    total: int


def load_tokenizer(model: str) -> Any:
    """Load the tokenizer of a model's folder or hub id; none of its weights.

    Raises:
        InputError: transformers is not installed, or there is no such tokenizer.
    """
    require("train", "counting tokens", ("transformers",), key="--model")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise InputError(
            "no tokenizer can be loaded", key="--model", found=f"{model} ({str(error).splitlines()[0][:120]})",
            expected="a folder with a tokenizer, or a model of the hub",
        ) from None  # fmt: skip


def row_lengths(domain: Domain, draws: Sequence[Drawn], tokenizer: Any) -> list[RowLength]:
    """Count the longest drawn rows in each style."""
    rows = [
        (query, Call(drawn.function, json.loads(arguments)), len(query) + len(arguments))
        for drawn in draws
        if drawn.words is not None
        for query, arguments in zip(drawn.words.query.to_pylist(), drawn.words.arguments.to_pylist(), strict=True)
    ]
    longest = sorted(rows, key=lambda row: -row[2])[:_MOST]
    found = []
    for style in STYLES:
        if not longest:
            continue
        form = PromptFormat(style, domain.tools(), tokenizer)
        counts = [(len(form.prompt_ids(query)), len(form.reply_ids(query, [call]))) for query, call, _ in longest]
        prompt, answer = max(counts, key=sum)
        found.append(RowLength(style, prompt, prompt + answer))
    return found


def length_warnings(domain: Domain, lengths: Sequence[RowLength]) -> list[str]:
    """Sentences for styles whose rows are longer than the default of ``train.max_length``."""
    config = probe_config(domain).train
    return [
        f"with train.prompt={each.style}, rows have {each.total:,} tokens ({each.prompt:,} of them prompt), more than "
        f"train.max_length={config.max_length:,}, its default; training refuses them. Set train.max_length to "
        f"{-(-each.total * 5 // 4 // 256) * 256:,}"
        + (
            f", use train.prompt=compact, or leave functions out: `python launch.py domain derive {domain.path} OUT "
            "--only-used`"
            if each.style == "tools"
            else ""
        )
        for each in lengths
        if each.total > config.max_length
    ]
