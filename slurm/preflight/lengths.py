"""Says before anything is submitted that rows will be longer than ``train.max_length``: training would refuse them."""

from __future__ import annotations

from collections.abc import Sequence

from routenator.authoring.rowlengths import RowLength, row_lengths, tokenizer_at_hand
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
