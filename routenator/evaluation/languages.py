"""Compares languages on one golden set: scores of each, and their difference to English on the same queries.

A query and its translations have the same ``id`` in the golden file. Each resample draws ids, the same for both
languages, and runs, the same too, since one model answers both. So the interval of a difference is free of how hard
the drawn queries are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from routenator.domain.golden import GoldenExample
from routenator.evaluation.metrics import by_language_of
from routenator.evaluation.pooled import Outcomes, Pooled, Weighed, of_queries, pool, weighed

ENGLISH = "en"


@dataclass(frozen=True)
class Answered:
    """One run's results on golden queries: one entry of ``examples`` for each query of ``found``."""

    examples: Sequence[GoldenExample]
    found: Outcomes


def by_language(
    arms: Mapping[str, Sequence[Answered]], measures: Sequence[str], reference: str | None, *, resamples: int, seed: int
) -> dict[str, Any]:
    """Return the scores by language, in the format of results.json; empty if fewer than two languages are known.

    Args:
        arms: name -> its runs. All were asked the same golden set, or a part of it.
        measures: names in ``scores.json``; those that no query of a language has are left out.
        reference: the arm that the others are compared with, within each language.
        resamples: bootstrap samples.
        seed: seed of the draws.

    Returns:
        Language -> ``queries`` and ``arms``: arm -> measure -> value, interval, ``runs``, ``difference`` to the
        reference arm, and ``english``: the number of ``queries`` that are in both, and the ``difference`` and ``ratio``
        to English on these.
    """
    known = {example.query: example for runs in arms.values() for run in runs for example in run.examples}
    spoken = by_language_of(list(known.values()), [example.language for example in known.values()])
    found = {}
    for language in sorted(spoken, key=lambda code: (code != ENGLISH, code)):
        place = {example.query: number for number, example in enumerate(spoken[language])}
        compared = {} if language == ENGLISH else _pairs(spoken.get(ENGLISH, []), spoken[language])
        table: dict[str, dict[str, Any]] = {name: {} for name in arms}
        for measure in measures:
            statistics = {name: _statistics(runs, measure, place) for name, runs in arms.items()}
            measured = {name: found_ for name, found_ in statistics.items() if found_}
            pooled = pool(measured, reference or "", len(place), resamples=resamples, seed=seed)
            for name, one in pooled.items():
                table[name][measure] = {
                    **one.mean.as_dict(),
                    "runs": one.runs,
                    "difference": None if one.difference is None else one.difference.as_dict(),
                    "english": _against_english(arms[name], measure, compared, resamples, seed),
                }
        found[language] = {"queries": len(place), "arms": table}
    return found


def _statistics(runs: Sequence[Answered], measure: str, place: Mapping[str, int]) -> list[Weighed]:
    """A measure of each run on these queries; empty if a run has none of them, or none has the measure.

    Args:
        place: query -> its index among those drawn; several queries may not have the same.
    """
    import numpy as np

    found: list[Weighed] = []
    for run in runs:
        rows = np.array([n for n, example in enumerate(run.examples) if example.query in place], dtype=int)
        places = np.array([place[run.examples[row].query] for row in rows], dtype=int)
        statistic = (
            weighed(of_queries(run.found, rows), measure, places, max(place.values()) + 1) if len(rows) else None
        )
        if statistic is None:
            return []
        found.append(statistic)
    return found


def _pairs(english: Sequence[GoldenExample], others: Sequence[GoldenExample]) -> dict[str, dict[str, int]]:
    """The queries that are in both languages: for each language, query -> number of the id."""
    common = {example.id for example in english} & {example.id for example in others} - {None}
    number = {identity: place for place, identity in enumerate(sorted(common, key=str))}
    if not number:
        return {}
    tables = [
        {example.query: number[example.id] for example in examples if example.id in number}
        for examples in (english, others)
    ]
    return dict(zip((ENGLISH, "other"), tables, strict=True))


def _against_english(
    runs: Sequence[Answered], measure: str, compared: Mapping[str, Mapping[str, int]], resamples: int, seed: int
) -> dict[str, Any] | None:
    if not compared:
        return None
    statistics = {name: _statistics(runs, measure, place) for name, place in compared.items()}
    if not all(statistics.values()):
        return None
    queries = len(compared[ENGLISH])
    one: Pooled = pool(statistics, ENGLISH, queries, resamples=resamples, seed=seed, together=True)["other"]
    assert one.difference is not None
    ratio = None if one.ratio is None else one.ratio.as_dict()
    return {"queries": queries, "difference": one.difference.as_dict(), "ratio": ratio}
