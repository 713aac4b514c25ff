"""Compares several arms, each trained with several seeds, on one golden set: means over seeds, intervals, differences.

The value of a measure for an arm is its mean over the arm's runs (seeds), each measured on the whole golden set. The
interval is a percentile bootstrap over two sources of chance at once: each resample redraws the queries, the same ones
for all runs of all arms, and redraws each arm's runs. So two arms are always compared on the same queries. A resample
is represented by weights, the number of times that it drew each query; a measure of all resamples is then a few matrix
products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from routenator.domain.functions import Function
from routenator.evaluation.bootstrap import LEVEL, Estimate
from routenator.evaluation.metrics import (
    Embed,
    categories_right,
    function_counts,
    labels_of,
    per_query,
    similarities,
    weighed_f1,
)
from routenator.evaluation.verdict import Verdict
from routenator.files import digest

if TYPE_CHECKING:
    import numpy as np


Weighed = Callable[
    ["np.ndarray"], "np.ndarray"
]  # float64 of shape (resamples, queries): how often drawn -> float64 of shape (resamples,)

LOWER_IS_BETTER = frozenset({"unparsable", "false_call", "missed_call"})
_CELLS = 8_000_000  # weights held at once


def weighed_ratio(top: np.ndarray, bottom: np.ndarray) -> Weighed:
    """sum(top) / sum(bottom) over drawn queries, both float of shape (queries,); 0 where the denominator is 0.

    A mean is the ratio of the values to ones, with zeros in both for queries that are not measured.
    """
    import numpy as np

    def statistic(weights: np.ndarray) -> np.ndarray:
        above, below = weights @ top, weights @ bottom
        return np.divide(above, below, out=np.zeros(len(weights)), where=below != 0)

    return statistic


@dataclass(frozen=True)
class Outcomes:
    """Results of one run on its golden queries, from which all measures are computed.

    Attributes:
        gold, said: calls of each function, float of shape (queries, labels), as ``metrics.f1_statistic`` takes them.
        right: bool of shape (queries,); True where the functions are right.
        sums, counts: measure -> float of shape (queries,); the measure is the sum of one over that of the other. A
            query that is not measured has 0 in both.
    """

    gold: np.ndarray
    said: np.ndarray
    right: np.ndarray
    sums: Mapping[str, np.ndarray]
    counts: Mapping[str, np.ndarray]


def outcomes(verdicts: Sequence[Verdict], functions: Mapping[str, Function], embed: Embed) -> Outcomes:
    """Collect the results of one run.

    Args:
        verdicts: one for each query.
        functions: the API.
        embed: sentence embeddings for SS.
    """
    import numpy as np

    gold, said = function_counts(verdicts, labels_of(verdicts, functions))

    def of_queries(values: Iterable[float]) -> np.ndarray:
        return np.array([float(value) for value in values])

    ones = np.ones(len(verdicts))
    asked = of_queries(verdict.wants_call for verdict in verdicts)
    cta, cta_count = per_query(verdicts, categories_right(verdicts))
    ss, ss_count = per_query(verdicts, similarities(verdicts, embed))
    return Outcomes(
        gold=gold,
        said=said,
        right=np.array([verdict.function_right for verdict in verdicts]),
        sums={
            "functions_right": of_queries(verdict.function_right for verdict in verdicts),
            "cta": cta,
            "ss": ss,
            "exact_match": of_queries(verdict.exact for verdict in verdicts),
            "argument_f1": of_queries(2 * sum(call.matched for call in verdict.calls) for verdict in verdicts),
            "unparsable": of_queries(verdict.unparsable for verdict in verdicts),
            "false_call": of_queries(verdict.called and not verdict.wants_call for verdict in verdicts),
            "missed_call": of_queries(verdict.missed for verdict in verdicts),
        },
        counts={
            "functions_right": ones,
            "cta": cta_count,
            "ss": ss_count,
            "exact_match": ones,
            "argument_f1": of_queries(
                sum(call.predicted + call.wanted for call in verdict.calls) for verdict in verdicts
            ),
            "unparsable": ones,
            "false_call": 1 - asked,
            "missed_call": asked,
        },
    )


def of_queries(found: Outcomes, rows: np.ndarray) -> Outcomes:
    """The results of one run on some of its queries; as in a golden set of these, only functions that they want count.

    Args:
        rows: int of shape (queries to keep,).
    """
    wanted = found.gold[rows].any(axis=0)
    return Outcomes(
        gold=found.gold[rows][:, wanted],
        said=found.said[rows][:, wanted],
        right=found.right[rows],
        sums={measure: values[rows] for measure, values in found.sums.items()},
        counts={measure: values[rows] for measure, values in found.counts.items()},
    )


def weighed(found: Outcomes, measure: str, places: np.ndarray, queries: int) -> Weighed | None:
    """Return a measure of one run as a function of query weights; None if no query of its golden set has it.

    Args:
        found: results of the run.
        measure: name in ``scores.json``.
        places: int of shape (queries of the run,): index of each in the experiment's queries.
        queries: number of queries of the experiment.
    """
    import numpy as np

    def spread(values: np.ndarray) -> np.ndarray:
        whole = np.zeros((queries, *values.shape[1:]))
        whole[places] = values
        return whole

    if measure.startswith("function_f1"):
        return weighed_f1(spread(found.gold), spread(found.said), macro=measure == "function_f1_macro")
    counts = found.counts[measure]
    return weighed_ratio(spread(found.sums[measure]), spread(counts)) if counts.any() else None


@dataclass(frozen=True)
class Pooled:
    """One measure of one arm.

    Attributes:
        mean: mean over runs, with its interval.
        runs: value of each run, in the order given.
        difference: difference from the reference arm on the same queries; None for the reference itself.
        ratio: to the reference arm, likewise; None also where the reference is 0, in a resample or as a whole.
    """

    mean: Estimate
    runs: list[float]
    difference: Estimate | None
    ratio: Estimate | None = None


def pool(
    arms: Mapping[str, Sequence[Weighed]],
    reference: str,
    queries: int,
    *,
    resamples: int,
    seed: int,
    together: bool = False,
) -> dict[str, Pooled]:
    """Compute one measure for all arms.

    Args:
        arms: name -> the measure of each of its runs; at least one run each.
        reference: the arm that the others are compared with; if it is not one of ``arms``, none is compared.
        queries: number of golden queries.
        resamples: bootstrap samples.
        seed: seed of the draws.
        together: the arms are parts of the same runs, so each resample draws the same runs for all.
    """
    import numpy as np

    once = np.ones((1, queries))
    values = {name: np.array([float(run(once)[0]) for run in runs]) for name, runs in arms.items()}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in arms}
    for weights, picks in draws(
        queries, {name: len(runs) for name, runs in arms.items()}, resamples, seed, together=together
    ):
        for name, runs in arms.items():
            each = np.stack([run(weights) for run in runs], axis=1)  # (resamples, runs)
            drawn[name].append(np.take_along_axis(each, picks[name], axis=1).mean(axis=1))
    luck = {name: np.concatenate(parts) for name, parts in drawn.items()}
    found = {}
    for name in arms:
        mean, difference, ratio = float(values[name].mean()), None, None
        if name != reference and reference in arms:
            base = float(values[reference].mean())
            difference = _estimate(mean - base, luck[name] - luck[reference])
            if base > 0 and luck[reference].all():
                ratio = _estimate(mean / base, luck[name] / luck[reference])
        found[name] = Pooled(_estimate(mean, luck[name]), [float(value) for value in values[name]], difference, ratio)
    return found


def draws(
    queries: int, runs: Mapping[str, int], resamples: int, seed: int, *, together: bool = False
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Draw the bootstrap samples, in parts to bound memory.

    The weights are the same for every measure and arm. The runs drawn for an arm do not depend on the other arms; with
    ``together`` they are the same for all arms.

    Yields:
        Weights of the queries, float64 of shape (part, queries), and for each arm the runs drawn, int64 of shape
        (part, runs).
    """
    import numpy as np

    size = max(1, _CELLS // max(1, queries))
    for part, low in enumerate(range(0, resamples, size)):
        count = min(size, resamples - low)
        generator = np.random.default_rng([seed, part])
        weights = generator.multinomial(queries, np.full(queries, 1 / queries), size=count).astype(float)
        picks = {
            name: np.random.default_rng([seed, part, int(digest("" if together else name), 16)]).integers(
                0, number, size=(count, number)
            )
            for name, number in runs.items()
        }
        yield weights, picks


def _estimate(value: float, luck: np.ndarray) -> Estimate:
    import numpy as np

    low, high = np.quantile(luck, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))


def compare_arms(reference: str, other: str, measures: Mapping[str, Mapping[str, Pooled]]) -> dict[str, list[str]]:
    """List the measures in which the reference arm is better or worse than another.

    Args:
        reference, other: names of the arms.
        measures: measure -> arm -> its values.

    Returns:
        ``apart``: better, and the intervals of the two arms do not overlap; ``better``, ``worse``: the interval of the
        difference excludes 0, which is the more powerful test because the queries are the same; ``open``: that interval
        includes 0.
    """
    found: dict[str, list[str]] = {"apart": [], "better": [], "worse": [], "open": []}
    for measure, arms in measures.items():
        if reference not in arms or other not in arms:
            continue
        sign = -1.0 if measure in LOWER_IS_BETTER else 1.0
        ours, theirs, difference = arms[reference].mean, arms[other].mean, arms[other].difference
        assert difference is not None
        mine, rival = sorted(sign * end for end in _ends(ours)), sorted(sign * end for end in _ends(theirs))
        gap = sorted(-sign * end for end in _ends(difference))  # reference minus other, higher is better
        if mine[0] > rival[1]:
            found["apart"].append(measure)
        elif gap[0] > 0:
            found["better"].append(measure)
        elif gap[1] < 0:
            found["worse"].append(measure)
        else:
            found["open"].append(measure)
    return found


def _ends(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None and estimate.high is not None
    return estimate.low, estimate.high
