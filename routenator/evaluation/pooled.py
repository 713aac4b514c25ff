"""Compares several arms, each trained with several seeds, on one golden set: means over seeds, intervals, differences.

The value of a measure for an arm is its mean over the arm's runs (seeds), each measured on the whole golden set. The
interval is a percentile bootstrap over two sources of chance at once: each resample redraws the queries, the same ones
for all runs of all arms, and redraws each arm's runs. So two arms are always compared on the same queries. A resample
is represented by weights, the number of times that it drew each query; a measure of all resamples is then a few matrix
products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from routenator.domain.functions import Function
from routenator.domain.golden import GoldenExample
from routenator.evaluation.bootstrap import LEVEL, Estimate
from routenator.evaluation.metrics import Embed, function_codes, similarities
from routenator.evaluation.verdict import Verdict
from routenator.files import digest

if TYPE_CHECKING:
    import numpy as np


Weighed = Callable[
    ["np.ndarray"], "np.ndarray"
]  # float64 of shape (resamples, queries): how often drawn -> float64 of shape (resamples,)

LOWER_IS_BETTER = frozenset({"unparsable"})
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


def weighed_f1(gold: np.ndarray, predicted: np.ndarray, labels: int, *, macro: bool) -> Weighed:
    """F1 of the predicted label, defined as in ``routenator.evaluation.metrics.f1_statistic``.

    Args:
        gold: int of shape (queries,), below ``labels``; -1 for queries that were not asked.
        predicted: int of shape (queries,); ``labels`` stands for anything else, -1 as in ``gold``.
        labels: number of labels in the golden set.
        macro: True for the mean over labels, False for F1 of the pooled counts.
    """
    import numpy as np

    codes = np.arange(labels)
    true_of = (gold[:, None] == codes).astype(float)
    said_of = (predicted[:, None] == codes).astype(float)
    right_of = true_of * said_of

    def statistic(weights: np.ndarray) -> np.ndarray:
        right, said, true = weights @ right_of, weights @ said_of, weights @ true_of
        if not macro:
            right, said, true = (part.sum(axis=1, keepdims=True) for part in (right, said, true))
        below = said + true
        scores = np.divide(2 * right, below, out=np.zeros_like(right), where=below != 0)
        found: np.ndarray = scores.sum(axis=1) / np.maximum((below != 0).sum(axis=1), 1)
        return found

    return statistic


@dataclass(frozen=True)
class Outcomes:
    """Results of one run on its golden queries, from which all measures are computed; arrays of shape (queries,).

    Attributes:
        gold, predicted: int; function labels as ``metrics.f1_statistic`` takes them.
        labels: number of functions in the golden set.
        right: bool; True where the function is right.
        category, similarity: float; 1 where function and category are right, and cosine similarity of the subprompts;
            NaN where the gold call has no category or subprompt.
        exact, unparsable, matched, pairs: float; ``pairs`` is the number of argument pairs of both calls, ``matched``
            twice the number in common.
    """

    gold: np.ndarray
    predicted: np.ndarray
    labels: int
    right: np.ndarray
    category: np.ndarray
    similarity: np.ndarray
    exact: np.ndarray
    unparsable: np.ndarray
    matched: np.ndarray
    pairs: np.ndarray


def outcomes(
    golden: Sequence[GoldenExample], verdicts: Sequence[Verdict], functions: Mapping[str, Function], embed: Embed
) -> Outcomes:
    """Collect the results of one run.

    Args:
        golden, verdicts: in the same order.
        functions: the API.
        embed: sentence embeddings for SS.
    """
    import numpy as np

    labels = [name for name in functions if any(example.name == name for example in golden)]
    gold, predicted = function_codes(golden, verdicts, labels)
    return Outcomes(
        gold=gold,
        predicted=predicted,
        labels=len(labels),
        right=gold == predicted,
        category=np.array(
            [np.nan if verdict.category is None else float(verdict.category_right or False) for verdict in verdicts]
        ),
        similarity=similarities(verdicts, embed),
        exact=np.array([float(verdict.exact) for verdict in verdicts]),
        unparsable=np.array([float(any(kind == "unparsable" for kind, _ in verdict.errors)) for verdict in verdicts]),
        matched=np.array([2.0 * verdict.matched for verdict in verdicts]),
        pairs=np.array([float(verdict.predicted + verdict.gold) for verdict in verdicts]),
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

    def spread(values: np.ndarray, fill: float) -> np.ndarray:
        whole = np.full(queries, fill, dtype=values.dtype)
        whole[places] = values
        return whole

    if measure.startswith("function_f1"):
        gold, predicted = spread(found.gold, -1), spread(found.predicted, -1)
        return weighed_f1(gold, predicted, found.labels, macro=measure == "function_f1_macro")
    if measure == "argument_f1":
        return weighed_ratio(spread(found.matched, 0.0), spread(found.pairs, 0.0))
    values = {
        "cta": found.category,
        "ss": found.similarity,
        "exact_match": found.exact,
        "unparsable": found.unparsable,
    }[measure]
    known = ~np.isnan(values)
    if not known.any():
        return None
    return weighed_ratio(spread(np.where(known, values, 0.0), 0.0), spread(known.astype(float), 0.0))


@dataclass(frozen=True)
class Pooled:
    """One measure of one arm.

    Attributes:
        mean: mean over runs, with its interval.
        runs: value of each run, in the order given.
        difference: difference from the reference arm on the same queries; None for the reference itself.
    """

    mean: Estimate
    runs: list[float]
    difference: Estimate | None


def pool(
    arms: Mapping[str, Sequence[Weighed]], reference: str, queries: int, *, resamples: int, seed: int
) -> dict[str, Pooled]:
    """Compute one measure for all arms.

    Args:
        arms: name -> the measure of each of its runs; at least one run each.
        reference: the arm that the others are compared with; if it is not one of ``arms``, none is compared.
        queries: number of golden queries.
        resamples: bootstrap samples.
        seed: seed of the draws.
    """
    import numpy as np

    once = np.ones((1, queries))
    values = {name: np.array([float(run(once)[0]) for run in runs]) for name, runs in arms.items()}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in arms}
    for weights, picks in draws(queries, {name: len(runs) for name, runs in arms.items()}, resamples, seed):
        for name, runs in arms.items():
            each = np.stack([run(weights) for run in runs], axis=1)  # (resamples, runs)
            drawn[name].append(np.take_along_axis(each, picks[name], axis=1).mean(axis=1))
    luck = {name: np.concatenate(parts) for name, parts in drawn.items()}
    return {
        name: Pooled(
            mean=_estimate(float(values[name].mean()), luck[name]),
            runs=[float(value) for value in values[name]],
            difference=None
            if name == reference or reference not in arms
            else _estimate(float(values[name].mean() - values[reference].mean()), luck[name] - luck[reference]),
        )
        for name in arms
    }


def draws(
    queries: int, runs: Mapping[str, int], resamples: int, seed: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Draw the bootstrap samples, in parts to bound memory.

    The weights are the same for every measure and arm. The runs drawn for an arm do not depend on the other arms.

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
            name: np.random.default_rng([seed, part, int(digest(name), 16)]).integers(0, number, size=(count, number))
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
