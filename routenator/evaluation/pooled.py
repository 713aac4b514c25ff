"""Several trainings of several arms on one golden set: means over seeds, and what of their differences is more than
luck.

A measure of an arm is its mean over the arm's runs (seeds) of the measure on the whole golden set. Its interval is a
percentile bootstrap over two sources of luck at once: each resample draws the queries anew, the same for all runs of
all arms, and each arm's runs anew. So a difference of two arms is taken on the same queries. Queries are weights here:
how often a resample drew each. A measure of all resamples is then a few matrix products.
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
    """sum(top) / sum(bottom) over drawn queries, both float of shape (queries,); 0 where the sum below is 0.

    A mean is the ratio of the values to ones, with zeros in both for queries that are not measured.
    """
    import numpy as np

    def statistic(weights: np.ndarray) -> np.ndarray:
        above, below = weights @ top, weights @ bottom
        return np.divide(above, below, out=np.zeros(len(weights)), where=below != 0)

    return statistic


def weighed_f1(gold: np.ndarray, predicted: np.ndarray, labels: int, *, macro: bool) -> Weighed:
    """F1 of the predicted label, as ``routenator.evaluation.metrics.f1_statistic`` has it.

    Args:
        gold: int of shape (queries,), below ``labels``; -1 for queries that were not asked.
        predicted: int of shape (queries,); ``labels`` stands for anything else, -1 as in ``gold``.
        labels: how many the golden set holds.
        macro: mean over labels, or of the pooled counts.
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
    """One run on its golden queries: what every measure is made of, all arrays of shape (queries,).

    Attributes:
        gold, predicted: int; function labels as ``metrics.f1_statistic`` takes them.
        labels: functions that the golden set holds.
        right: bool; the function is.
        category, similarity: float; function and category right, cosine of the subprompts; NaN where there is none to
            be right about.
        exact, unparsable, matched, pairs: float; ``pairs`` are the argument pairs of both calls, ``matched`` twice
            those in common.
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
    """What became of each golden query.

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
    """A measure of one run, as it is named in ``scores.json``; None where its golden set has nothing to measure it on.

    Args:
        places: int of shape (queries of the run,): where each stands among the experiment's queries.
        queries: of the experiment.
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
        mean: over runs, with its interval.
        runs: of each run, in the order given.
        difference: to the reference arm on the same queries; None of the reference itself.
    """

    mean: Estimate
    runs: list[float]
    difference: Estimate | None


def pool(
    arms: Mapping[str, Sequence[Weighed]], reference: str, queries: int, *, resamples: int, seed: int
) -> dict[str, Pooled]:
    """One measure of all arms.

    Args:
        arms: name -> the measure of each of its runs; at least one run each.
        reference: the arm that the others are compared to; one of ``arms``, or none is compared.
        queries: of the golden set.
        resamples: bootstrap samples.
        seed: of the draws.
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
    """The bootstrap's draws, in parts: weights of the queries, float64 of shape (part, queries), and for each arm the
    runs drawn, int64 of shape (part, runs). The weights are the same for every measure and arm; an arm's runs do not
    depend on which other arms there are.
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
    """In which measures the reference arm is better or worse than another.

    Args:
        measures: measure -> arm -> its numbers.

    Returns:
        ``apart``: better, and the two arms' intervals do not overlap; ``better``, ``worse``: by the interval of the
            difference alone, which
        is the sharper test because the queries are the same; ``open``: the interval of the difference holds 0.
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
