"""Says before anything is submitted what will be too long: rows for ``train.max_length``, which training would refuse,
and right replies for ``evaluate.max_new_tokens``, which would be cut off."""

from __future__ import annotations

from collections.abc import Sequence

from routenator.authoring.rowlengths import RowLength, row_lengths, tokenizer_at_hand
from routenator.chat.prompts import PromptFormat
from routenator.config import RunConfig
from routenator.domain.calls import Call, calls_text
from routenator.domain.domain import Domain
from routenator.domain.golden import GoldenExample
from routenator.errors import InputError
from routenator.files import canonical_json
from routenator.models import cache_folder

# JSON and text have more bytes than this per token, with any common tokenizer. Loading one takes seconds, so it is left
# out where even this many tokens would fit.
_BYTES_PER_TOKEN = 2
_TAGS = 20  # tokens around the call of a reply


def check_row_lengths(config: RunConfig, domain: Domain, golden: Sequence[GoldenExample]) -> list[str]:
    """Count the tokens of prompts and replies, if the trained model's tokenizer is on this machine.

    The golden queries stand for the data set's, which are still to be made; without any, the prompt of an empty query.

    Returns:
        A sentence if the longest of them is longer than ``train.max_length``.

    Raises:
        InputError: even the shortest is.
    """
    most, style, tools = config.train.max_length, config.train.prompt, domain.tools()
    rows = [(one.asked, [Call(call.name, call.arguments) for call in one.calls]) for one in golden] or [("", [])]
    sizes = [len((query + calls_text(calls)).encode()) for query, calls in rows]
    # The prompt shows the API and the form of each call.
    shown = 2 * len(canonical_json(tools).encode()) if style == "tools" else 0
    if shown + max(sizes) <= _BYTES_PER_TOKEN * most:
        return []
    tokenizer = tokenizer_at_hand(config.model.trainee, cache_folder(config.cache))
    if tokenizer is None:
        return []

    def counted(row: tuple[str, list[Call]]) -> RowLength:
        return row_lengths(tools, [row], tokenizer, [style])[0]

    shortest = counted(rows[sizes.index(min(sizes))])
    longest = counted(rows[sizes.index(max(sizes))])
    if shortest.total > most:
        raise InputError(
            "rows will be longer than train.max_length, and training refuses such rows",
            key="train.max_length",
            found=f"{most:,}; the shortest golden query has {shortest.total:,} tokens with its call, "
            f"{shortest.prompt:,} of them prompt",
            expected=longest.advice(domain.path),
        )
    if longest.total > most:
        return [
            f"the longest golden query has {longest.total:,} tokens with its call, more than "
            f"train.max_length={most:,}; training refuses rows as long. Set {longest.advice(domain.path)}"
        ]
    return []


def check_reply_lengths(config: RunConfig, golden: Sequence[GoldenExample]) -> list[str]:
    """Count the tokens of the right replies to golden queries, if the trained model's tokenizer is on this machine.

    Returns:
        A sentence if some are longer than ``evaluate.max_new_tokens``: no model can give them.
    """
    most = config.evaluate.max_new_tokens
    replies = [[Call(call.name, call.arguments) for call in one.calls] for one in golden if one.calls]
    long = [calls for calls in replies if len(calls_text(calls).encode()) > _BYTES_PER_TOKEN * (most - _TAGS)]
    tokenizer = tokenizer_at_hand(config.model.trainee, cache_folder(config.cache)) if long else None
    if tokenizer is None:
        return []
    # A reply has the same calls in either style; the tools of the other need not be shown for it.
    form = PromptFormat("compact", [], tokenizer, several=any(len(calls) > 1 for calls in replies))
    counts = [count for calls in long if (count := len(form.reply_ids("", calls))) > most]
    if not counts:
        return []
    return [
        f"the right replies to {len(counts):,} of {len(golden):,} golden queries are longer than "
        f"evaluate.max_new_tokens={most:,}, so no model can give them; the longest has {max(counts):,} tokens. "
        f"Set evaluate.max_new_tokens={-(-max(counts) * 5 // 4 // 32) * 32:,}"
    ]
