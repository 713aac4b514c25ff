"""Compares two models on the same queries: paired bootstrap intervals of differences, and McNemar's exact test."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from routenator.chat.replies import parse_reply
from routenator.domain.functions import Function
from routenator.domain.golden import GoldenExample
from routenator.errors import InputError, value_kind
from routenator.evaluation.bootstrap import mcnemar, paired_difference
from routenator.evaluation.metrics import Embed, by_language_of, calls_of, similarities
from routenator.evaluation.verdict import Match, Verdict, judge_reply
from routenator.files import read_text
from routenator.parsing import parse_json

SIDE = "after"  # key of the trained model's replies in predictions.jsonl


def paired(
    first: Sequence[Verdict], second: Sequence[Verdict], embed: Embed, *, resamples: int, seed: int
) -> dict[str, Any]:
    """Test whether the second model is better than the first.

    Args:
        first, second: verdicts on the same queries, in the same order.
        embed: sentence embeddings for SS.
        resamples: bootstrap samples.
        seed: of the bootstrap.

    Returns:
        function, exact_match and cta: ``difference`` (second minus first, with its interval) and ``p_value``; ss:
        ``difference``.
    """
    import numpy as np

    def right(verdicts: Sequence[Verdict]) -> dict[str, np.ndarray]:
        return {
            "function": np.array([verdict.function_right for verdict in verdicts]),
            "exact_match": np.array([verdict.exact for verdict in verdicts]),
            "cta": np.array([bool(call.category_right) for call in calls_of(verdicts) if call.category is not None]),
        }

    before, after = right(first), right(second)
    result: dict[str, Any] = {}
    for name, values in before.items():
        if len(values):
            difference = paired_difference(values, after[name], resamples, seed)
            result[name] = {"difference": difference.as_dict(), "p_value": mcnemar(values, after[name])}
    # Of the same gold calls, in the same order; extra calls have none.
    one, two = (values[~np.isnan(values)] for values in (similarities(first, embed), similarities(second, embed)))
    if len(one):
        result["ss"] = {"difference": paired_difference(one, two, resamples, seed).as_dict()}
    return result


def read_verdicts(
    file: Path,
    golden: Sequence[GoldenExample],
    functions: Mapping[str, Function],
    match: Match = "own",
    *,
    side: str = SIDE,
    similarities_too: bool = True,
) -> list[tuple[str, Verdict]]:
    """Read the replies of a predictions.jsonl and judge them again.

    Args:
        file: the predictions.
        golden: the golden set that the model was asked, or a superset.
        functions: the API.
        match: the rule for right values.
        side: key of the model's replies; by default a run's trained model.
        similarities_too: whether to take the similarities of subprompts that the file holds. They are those of the
            embedder that evaluated it; files of older versions hold none.

    Returns:
        (query, verdict) in the order of the file.

    Raises:
        InputError: the file has no such replies, similarities that are not numbers, or a query that is not in the
            golden set.
    """
    gold = {example.query: example for example in golden}
    found = []
    # Not splitlines: a query may contain other line separators.
    for number, line in enumerate(read_text(file, "predictions as evaluation writes them").rstrip("\n").split("\n"), 1):
        row = parse_json(line, file, "predictions as evaluation writes them", line=number)
        if not isinstance(row, dict):
            raise InputError(
                "not a prediction", file=file, key=f"line {number}", found=value_kind(row), expected="a JSON object"
            )
        if side not in row:
            raise InputError(
                "no reply of this model", file=file, key=f"line {number}", found=", ".join(row), expected=side
            )
        if row["query"] not in gold:
            raise InputError("this query is not in the golden set", file=file, key=f"line {number}", found=row["query"])
        reply = parse_reply(row[side]["reply"])
        verdict = judge_reply(gold[row["query"]], reply, functions, match)
        if similarities_too and "subprompts" in row[side]:
            verdict = _with_stored(verdict, row[side]["subprompts"], file, number)
        found.append((row["query"], verdict))
    return found


def _with_stored(verdict: Verdict, stored: Any, file: Path, line: int) -> Verdict:
    """Add the similarities of a file's row, by the texts: by another rule, another call may be the partner."""
    try:
        known: dict[tuple[str, str | None], float] = {
            (pair["gold"], pair["said"]): float(pair["similarity"]) for pair in stored
        }
    except (TypeError, KeyError, ValueError):
        raise InputError(
            "not similarities of subprompts",
            file=file,
            key=f"line {line}: subprompts",
            found=json.dumps(stored)[:100],
            expected="a list of objects with gold, said and similarity",
        ) from None
    calls = (
        call if call.subprompt is None else replace(call, similarity=known.get(call.subprompt))
        for call in verdict.calls
    )
    return replace(verdict, calls=tuple(calls))


def compare_files(
    first: Path,
    second: Path,
    golden: Sequence[GoldenExample],
    functions: Mapping[str, Function],
    embed: Embed,
    *,
    seed: int,
    resamples: int,
    match: Match = "own",
    same_embedder: bool = True,
) -> dict[str, Any]:
    """Apply ``paired`` to two predictions files, on the queries that are in both.

    With golden queries of several languages, ``languages`` has the same of each language's queries.

    Args:
        first, second: the files.
        golden, functions, match: as for ``read_verdicts``.
        embed: sentence embeddings for similarities that the files do not hold.
        seed, resamples: of the bootstrap.
        same_embedder: whether both files were evaluated with ``embed``; if not, only the first was.

    Raises:
        InputError: they have no query in common.
    """
    one = dict(read_verdicts(first, golden, functions, match))
    two = dict(read_verdicts(second, golden, functions, match, similarities_too=same_embedder))
    common = [query for query in one if query in two]
    if not common:
        raise InputError(
            "the two files have no query in common", file=second, found="0 queries", expected=f"some of {first}"
        )
    first_said, second_said = ([table[query] for query in common] for table in (one, two))
    counts = {"n": len(common), "only_first": len(one) - len(common), "only_second": len(two) - len(common)}
    language = {example.query: example.language for example in golden}
    both = by_language_of(list(zip(first_said, second_said, strict=True)), [language[query] for query in common])
    by_language = {}
    for name, own in both.items():
        own_first, own_second = ([pair[place] for pair in own] for place in (0, 1))
        by_language[name] = {"n": len(own), **paired(own_first, own_second, embed, resamples=resamples, seed=seed)}
    found = paired(first_said, second_said, embed, resamples=resamples, seed=seed)
    return {**counts, **found, **({"languages": by_language} if by_language else {})}
