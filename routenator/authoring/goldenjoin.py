"""Golden queries of two calls, made of pairs of golden queries of one: do models split requests that are joined?"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from routenator.domain.functions import Function
from routenator.domain.golden import golden_line, load_golden
from routenator.errors import InputError
from routenator.jsontext import dump_line
from routenator.normalform import normal_form

# None of them is in the package's joins.yaml, by which training rows are joined.
CONNECTIVES = (
    " and while you're at it ",
    ", oh and ",
    ". Once that's done, ",
    ". On another note, ",
    ", followed by ",
    ". Besides that, ",
    " and on top of that ",
    ". Next up, ",
)
_ENDS = " .,;:!?"


def join_golden(file: Path, functions: Mapping[str, Function], pairs: int, seed: int) -> list[str]:
    """Join queries of one call whose functions differ.

    The connectives take turns. What ends the first query is dropped: "play jazz." becomes "play jazz, oh and ...".

    Args:
        pairs: number of queries to make; none has the same two parts in the same order as another.

    Returns:
        Lines of a golden file.

    Raises:
        InputError / InputErrors: an invalid golden file, or too few queries for so many pairs.
    """
    single = [example for example in load_golden(file, functions) if len(example.calls) == 1 and not example.hidden]
    # Queries that are meant from different days cannot be one.
    by_function = Counter((example.today, example.calls[0].name) for example in single)
    by_day = Counter(example.today for example in single)
    possible = sum(count * (by_day[day] - count) for (day, _), count in by_function.items())
    if pairs > possible // 2:  # drawn one by one, the last of all would take long to find
        raise InputError(
            "too few queries of one call for so many pairs",
            file=file,
            key="--pairs",
            found=pairs,
            expected=f"at most {possible // 2:,}, half of the pairs of different functions",
        )
    luck = random.Random(seed)
    seen: set[str] = set()
    lines: list[str] = []
    while len(lines) < pairs:
        first, second = luck.sample(single, 2)
        if first.calls[0].name == second.calls[0].name or first.today != second.today:
            continue
        key = f"{normal_form(first.query)}\n{normal_form(second.query)}"
        if key in seen:
            continue
        seen.add(key)
        query = first.query.strip().rstrip(_ENDS) + CONNECTIVES[len(lines) % len(CONNECTIVES)] + second.query.strip()
        language = first.language if first.language == second.language else None
        lines.append(dump_line(golden_line(query, (*first.calls, *second.calls), first.today, language=language)))
    return lines
