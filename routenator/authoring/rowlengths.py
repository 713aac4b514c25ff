"""Counts the tokens of a domain's rows by the trained model's tokenizer alone, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from routenator.chat.prompts import PromptFormat
from routenator.chat.templates import STYLES, Style
from routenator.compose import probe_config
from routenator.domain.calls import Call, calls_text
from routenator.domain.domain import Domain
from routenator.errors import InputError
from routenator.extras import is_installed, require
from routenator.models import prepared
from routenator.place import command_line

_MOST = 32  # rows counted; the longest in characters
Row = tuple[str, list[Call]]  # query and calls


class RowLength(NamedTuple):
    """Tokens of the longest row in one style of prompt.

    Attributes:
        prompt: tokens of its prompt.
        total: tokens of prompt and reply.
    """

    style: Style
    prompt: int
    total: int

    def advice(self, domain: Path) -> str:
        """What to change so that the row fits."""
        fitting = -(-self.total * 5 // 4 // 256) * 256
        derive = command_line("domain", "derive", domain, "OUT", "--only-used")
        return f"train.max_length={fitting:,}" + (
            f", train.prompt=compact, or fewer functions: `{derive}`" if self.style == "tools" else ""
        )


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


def tokenizer_at_hand(model: str, cache: Path) -> Any:
    """The tokenizer of a config's model, if it can be loaded from this machine's disk; else None.

    Args:
        cache: folder of prepared weights.
    """
    name = prepared(model, cache)
    if name is None or not is_installed("transformers"):
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError):
        return None


def row_lengths(
    tools: Sequence[dict[str, Any]], rows: Sequence[Row], tokenizer: Any, styles: Sequence[Style] = STYLES
) -> list[RowLength]:
    """Count the tokens of the longest row in each style.

    Args:
        tools: the API as OpenAI tools.
        rows: queries with their calls.
    """
    longest = sorted(rows, key=lambda row: -len(row[0]) - len(calls_text(row[1])))[:_MOST]
    found = []
    for style in styles if longest else ():
        form = PromptFormat(style, tools, tokenizer, several=any(len(calls) > 1 for _, calls in longest))
        counts = [(len(form.prompt_ids(query)), len(form.reply_ids(query, calls))) for query, calls in longest]
        prompt, reply = max(counts, key=sum)
        found.append(RowLength(style, prompt, prompt + reply))
    return found


def length_warnings(domain: Domain, lengths: Sequence[RowLength]) -> list[str]:
    """Sentences for styles whose rows are longer than the default of ``train.max_length``."""
    config = probe_config(domain.path).train
    return [
        f"with train.prompt={each.style}, rows have {each.total:,} tokens ({each.prompt:,} of them prompt), more than "
        f"train.max_length={config.max_length:,}, its default; training refuses them. Set {each.advice(domain.path)}"
        for each in lengths
        if each.total > config.max_length
    ]
