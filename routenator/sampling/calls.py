"""Cells of the target whose rows have no call or several, and what is left for rows of one call.

The shares of functions hold over all calls of the data set: rows of several calls use some of a function's calls, rows
of one call get the rest. Shares of categories, lengths and routes are those of rows with one call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from routenator.config import RunConfig
from routenator.domain.domain import Domain
from routenator.domain.schema import NO_CALL, NO_CATEGORY
from routenator.errors import InputError
from routenator.sampling.philox import row_seeds, words
from routenator.sampling.shares import largest_remainder, normalise
from routenator.schemas import AND

NO_LENGTH = "none"  # length of rows without a call or with several: no bucket is theirs
NEAR = "near/"  # templates of queries whose function is hidden
SEVERAL = "several"  # template of rows with several calls
MOST_COMBINATIONS = 1000  # of functions, for each number of calls
_DRAWN = 10_000  # rows whose functions are drawn; more rows share their combinations
_ROUTE = "heuristic"
_STREAM_SEVERAL = 30
_DEFAULT = {"topics": 0.75, "chat": 0.25}
_DEFAULT_WITH_TOOLS = {"topics": 0.6, "near": 0.2, "chat": 0.2}


class Cell(NamedTuple):
    """A stratum to be.

    Attributes:
        key: see ``routenator.sampling.strata.KEY``.
        target: its share of the data set.
        quota: its rows.
        calls, hidden: as in a stratum.
    """

    key: tuple[str, str, str, str, str, str]
    target: float
    quota: int
    calls: int = 1
    hidden: str | None = None


def row_calls(domain: Domain, config: RunConfig) -> dict[int, float]:
    """Number of calls -> share of the rows, in ascending order; from the config, or else the statistics.

    Raises:
        InputError: no share above 0; or names that rows without a call or with several use for themselves.
    """
    given = config.dataset.calls
    weights = domain.statistics.calls if given is None else given
    file, key = (domain.path / "statistics.yaml", "calls") if given is None else (None, "dataset.calls")
    if not any(weights.values()):
        raise InputError("all weights are zero", file=file, key=key, found=dict(weights), expected="one above 0")
    shares = {int(calls): share for calls, share in normalise({str(k): w for k, w in sorted(weights.items())}).items()}
    if 0 in shares and NO_CALL in domain.functions:
        raise InputError(
            f"rows without a call need the name {NO_CALL} for themselves", file=file, key=key,
            found=f"a function {NO_CALL}", expected="no share for 0",
        )  # fmt: skip
    joined = [name for name in domain.functions if AND in name]
    if joined and max(shares) > 1:
        raise InputError(
            f"rows with several calls put {AND!r} between the names of their functions", file=file, key=key,
            found=f"a function {joined[0]!r}", expected="another name, or no share for 2 or more",
        )  # fmt: skip
    if set(shares) != {1} and NO_LENGTH in domain.statistics.length_buckets:
        raise InputError(
            f"rows without a call or with several need the length {NO_LENGTH} for themselves",
            file=domain.path / "statistics.yaml", key=f"length_buckets.{NO_LENGTH}", found=NO_LENGTH,
            expected="another name",
        )  # fmt: skip
    return shares


def call_quotas(domain: Domain, rows: Mapping[int, int], several: Sequence[Cell]) -> dict[str, int]:
    """Rows of one call for each function: its calls of all rows less those of rows with several.

    Args:
        rows: number of calls -> rows.
        several: the cells of rows with several calls.
    """
    functions = normalise(domain.statistics.functions)
    calls = sum(count * number for count, number in rows.items())
    left = dict(zip(functions, largest_remainder(list(functions.values()), calls), strict=True))
    for cell in several:
        for function in cell.key[0].split(AND):
            left[function] -= cell.quota
    # With few rows of one call, rounding may have taken more of a rare function than there is.
    while (lack := min(left.values(), default=0)) < 0:
        lacking, rich = min(left, key=lambda name: left[name]), max(left, key=lambda name: left[name])
        part = min(-lack, left[rich])
        left[lacking] += part
        left[rich] -= part
    return left


def several_cells(
    domain: Domain, config: RunConfig, shares: Mapping[int, float], rows: Mapping[int, int]
) -> list[Cell]:
    """Cells of rows with several calls: combinations of functions, drawn by the plan's seed from their shares."""
    functions, languages = normalise(domain.statistics.functions), normalise(domain.statistics.languages)
    names, most = list(functions), max(1, MOST_COMBINATIONS // len(languages))
    cells = []
    for calls, count in rows.items():
        if calls < 2:
            continue
        for place, (language, spoken) in enumerate(_spread(languages, count).items()):
            if not spoken:
                continue
            if language not in domain.no_call.joins:
                raise _nothing_said(domain, "joins.yaml", "no way to join several requests", language)
            drawn = min(spoken, _DRAWN)
            pool = np.repeat(np.arange(len(names)), largest_remainder(list(functions.values()), drawn * calls))
            stream = _STREAM_SEVERAL + calls
            order = np.argsort(words(row_seeds(config.seed, np.arange(len(pool))), stream, attempt=place)[0])
            found = Counter(map(tuple, pool[order].reshape(drawn, calls).tolist())).most_common(most)
            total = sum(number for _, number in found)
            quotas = largest_remainder([number for _, number in found], spoken)
            for (combination, number), quota in zip(found, quotas, strict=True):
                label = AND.join(names[function] for function in combination)
                target = shares[calls] * languages[language] * number / total
                cells.append(Cell((label, NO_CATEGORY, _ROUTE, SEVERAL, NO_LENGTH, language), target, quota, calls))
    return cells


def no_call_cells(domain: Domain, config: RunConfig, share: float, rows: int) -> Iterator[Cell]:
    """Cells of rows without a call: topics and chat, and queries for a function that their prompt hides.

    Raises:
        InputError: no pattern or no reply in a language of the domain.
    """
    if not share:
        return
    languages = normalise(domain.statistics.languages)
    kinds = no_call_shares(domain, config)
    found: dict[tuple[str, str, str | None], float] = {}
    for language, spoken in languages.items():
        if language not in domain.no_call.replies:
            raise _nothing_said(domain, "replies.yaml", "no reply for rows without a call", language)
        for kind, part in kinds.items():
            if kind == "near":
                for function, own in normalise(domain.statistics.functions).items():
                    found[f"{NEAR}{function}", language, function] = spoken * part * own
                continue
            weights = domain.no_call.of(kind, language)
            if not weights:
                raise _nothing_said(domain, "no_call.yaml", f"no pattern of {kind} for rows without a call", language)
            for name, own in normalise(weights).items():
                found[name, language, None] = spoken * part * own
    for ((template, language, hidden), own), quota in zip(
        found.items(), largest_remainder(list(found.values()), rows), strict=True
    ):
        key = (NO_CALL, NO_CATEGORY, _ROUTE, template, NO_LENGTH, language)
        yield Cell(key, share * own, quota, 0, hidden)


def no_call_shares(domain: Domain, config: RunConfig) -> dict[str, float]:
    """What rows without a call are -> share. Only prompts that show the API's tools can hide one of several.

    Raises:
        InputError: no share above 0.
    """
    hides = config.train.prompt == "tools" and len(domain.functions) > 1
    given = config.dataset.no_call
    stated = domain.statistics.no_call if given is None else given
    weights = stated or (_DEFAULT_WITH_TOOLS if hides else _DEFAULT)
    shares = normalise({str(kind): weight for kind, weight in weights.items() if kind != "near" or hides})
    if not shares:
        raise InputError(
            "nothing to make rows without a call of",
            file=None if given else domain.path / "statistics.yaml",
            key="dataset.no_call" if given else "no_call",
            found=dict(weights),
            expected="a share of topics or chat, or of near with train.prompt=tools and several functions",
        )
    return shares


def _spread(shares: Mapping[str, float], quota: int) -> dict[str, int]:
    return dict(zip(shares, largest_remainder(list(shares.values()), quota), strict=True))


def _nothing_said(domain: Domain, name: str, what: str, language: str) -> InputError:
    return InputError(
        f"{what} in {language}", file=domain.path / "templates" / name, found="none",
        expected=f"at least one for {language}; the package has only some languages",
    )  # fmt: skip
