"""Golden queries whose function is taken away: does a model refrain from calling what it is not shown?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from routenator.domain.functions import Function
from routenator.domain.golden import golden_line, load_golden
from routenator.errors import InputError
from routenator.files import digest
from routenator.jsontext import dump_line
from routenator.normalform import normal_form


def hide_called(file: Path, functions: Mapping[str, Function], queries: int, seed: int) -> list[str]:
    """Draw golden queries of one call and hide the function that each calls, so that it wants no call.

    A keyed hash of the query decides, so the order of the lines does not matter; the queries drawn keep it.

    Args:
        queries: number of queries to draw.

    Returns:
        Lines of a golden file.

    Raises:
        InputError / InputErrors: an invalid golden file, too few queries of one call, or an API of one function, which
            would leave nothing to show.
    """
    if len(functions) < 2:
        raise InputError(
            "nothing is left to show", file=file, found=f"{len(functions)} function", expected="at least 2"
        )
    single = [one for one in load_golden(file, functions) if len(one.calls) == 1 and not one.hidden]
    if queries > len(single):
        raise InputError(
            "too few queries of one call",
            file=file,
            key="--queries",
            found=queries,
            expected=f"at most {len(single):,}",
        )
    keys = [digest([seed, normal_form(one.query)]) for one in single]
    drawn = sorted(sorted(range(len(single)), key=keys.__getitem__)[:queries])
    chosen = [single[at] for at in drawn]
    return [dump_line(golden_line(one.query, (), one.today, one.labels, one.language, one.id)) for one in chosen]
