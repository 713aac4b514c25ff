"""All scores of one model on one golden set, as defined in docs/method.md.

- **function F1**: F1 of the predicted function. Macro: mean over functions; micro: from the pooled counts. Only
  functions that occur in the golden set count. An unparsable reply, or a function outside that set, is a false negative
  for the gold function and no false positive for another.
- **CTA** (content-type accuracy): of the golden queries whose call has the category parameter, the share with function
  and category right.
- **SS** (subprompt similarity): cosine similarity of the sentence embeddings of gold and predicted subprompt, averaged
  over the golden queries whose call has the subprompt parameter; 0 if none was predicted. The paper gives no formula;
  this one is ours.
- **exact match**: same function and same arguments, ignoring case and whitespace in texts.
- **argument F1**: over pooled (name, value) pairs; with a wrong function no pair counts as right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from routenator.domain.functions import Function
from routenator.domain.golden import GoldenExample
from routenator.evaluation.bootstrap import Statistic, interval, mean_of, ratio_of
from routenator.evaluation.verdict import ERRORS, NONE, Verdict

if TYPE_CHECKING:
    import numpy as np

Embed = Callable[[list[str]], "np.ndarray"]  # texts -> float32 of shape (texts, dimensions), rows of length 1

_SHOWN_CATEGORIES = 30  # rows of the category confusion matrix; the rest are pooled
_OTHER = "(other)"


def score(
    golden: Sequence[GoldenExample],
    verdicts: Sequence[Verdict],
    functions: Mapping[str, Function],
    embed: Embed,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Compute the scores of one model in the format of ``scores.json``, without the speed.

    Args:
        golden: the queries and their gold calls.
        verdicts: one per query, in the same order.
        functions: the API.
        embed: sentence embeddings for SS.
        resamples: bootstrap samples for the intervals.
        seed: seed of the bootstrap.
    """
    import numpy as np

    labels = [name for name in functions if any(example.name == name for example in golden)]
    gold_codes, codes = function_codes(golden, verdicts, labels)

    def estimate(statistic: Statistic, n: int) -> dict[str, float | None]:
        return interval(statistic, n, resamples, seed).as_dict()

    exact = np.array([verdict.exact for verdict in verdicts], dtype=float)
    unparsable = np.array(
        [any(kind == "unparsable" for kind, _ in verdict.errors) for verdict in verdicts], dtype=float
    )
    category = np.array([verdict.category_right for verdict in verdicts if verdict.category is not None], dtype=float)
    similarity = similarities(verdicts, embed)
    measured = similarity[~np.isnan(similarity)]
    matched = np.array([2 * verdict.matched for verdict in verdicts], dtype=float)
    pairs = np.array([verdict.predicted + verdict.gold for verdict in verdicts], dtype=float)
    n = len(golden)
    return {
        "function_f1_macro": estimate(f1_statistic(gold_codes, codes, len(labels), macro=True), n),
        "function_f1_micro": estimate(f1_statistic(gold_codes, codes, len(labels), macro=False), n),
        "cta": estimate(mean_of(category), len(category)),
        "ss": estimate(mean_of(measured), len(measured)),
        "exact_match": estimate(mean_of(exact), n),
        "argument_f1": estimate(ratio_of(matched, pairs), n),
        "unparsable": estimate(mean_of(unparsable), n),
        "n": n,
        "n_cta": len(category),
        "n_ss": len(measured),
        "per_function": _per_function(golden, verdicts, labels, gold_codes, codes, similarity),
        "per_category": _per_category(golden, verdicts),
        "confusion": _confusion([*labels, *(name for name in functions if name not in labels)], golden, verdicts),
        "confusion_categories": _category_confusion(verdicts),
        "errors": _errors(verdicts),
    }


def _errors(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Count the calls with each kind of error, in the order of ``ERRORS``."""
    found = Counter(kind for verdict in verdicts for kind in {kind for kind, _ in verdict.errors})
    return {kind: found[kind] for kind in ERRORS if found[kind]}


def similarities(verdicts: Sequence[Verdict], embed: Embed) -> np.ndarray:
    """Cosine similarity of gold and predicted subprompts.

    Returns:
        float64 of shape (verdicts,); NaN where the gold call has no subprompt, 0 where none was predicted.
    """
    import numpy as np

    result = np.full(len(verdicts), np.nan)
    texts: dict[str, int] = {}
    for verdict in verdicts:
        if verdict.subprompt is not None and verdict.subprompt[1] is not None:
            for text in verdict.subprompt:
                texts.setdefault(str(text), len(texts))
    vectors = embed(list(texts)) if texts else np.zeros((0, 1))
    for number, verdict in enumerate(verdicts):
        if verdict.subprompt is None:
            continue
        gold, said = verdict.subprompt
        result[number] = 0.0 if said is None else float(np.dot(vectors[texts[gold]], vectors[texts[said]]))
    return result


def f1_statistic(gold: np.ndarray, predicted: np.ndarray, labels: int, *, macro: bool) -> Statistic:
    """F1 of the predicted label as a statistic for the bootstrap; equals scikit-learn's ``f1_score`` with these labels.

    Args:
        gold: int of shape (n,), below ``labels``.
        predicted: int of shape (n,); ``labels`` stands for anything else.
        labels: number of labels.
        macro: True for the mean of the labels' F1, False for F1 of the pooled counts. A label that is neither gold nor
            predicted in a resample has no F1 there and is left out of the mean; in the full set every label occurs.
    """
    import numpy as np

    width = labels + 1
    cells = gold * width + predicted

    def statistic(rows: np.ndarray) -> np.ndarray:
        offsets = np.arange(len(rows))[:, None] * width * width
        counts = np.bincount((cells[rows] + offsets).ravel(), minlength=len(rows) * width * width).reshape(
            len(rows), width, width
        )
        right = np.einsum("rii->ri", counts)[:, :labels].astype(float)
        said, true = counts.sum(axis=1)[:, :labels], counts.sum(axis=2)[:, :labels]
        if not macro:
            right, said, true = (part.sum(axis=1, keepdims=True) for part in (right, said, true))
        below = said + true
        scores = np.divide(2 * right, below, out=np.zeros_like(right), where=below != 0)
        return scores.sum(axis=1) / np.maximum((below != 0).sum(axis=1), 1)

    return statistic


def function_codes(
    golden: Sequence[GoldenExample], verdicts: Sequence[Verdict], labels: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Gold and predicted functions as indices into ``labels``.

    Returns:
        Two int64 arrays of shape (queries,); a predicted function outside ``labels`` is ``len(labels)``.
    """
    import numpy as np

    code = {name: number for number, name in enumerate(labels)}
    gold = np.array([code[example.name] for example in golden], dtype=np.int64)
    predicted = np.array([code.get(verdict.function, len(labels)) for verdict in verdicts], dtype=np.int64)
    return gold, predicted


def _per_function(
    golden: Sequence[GoldenExample],
    verdicts: Sequence[Verdict],
    labels: list[str],
    gold: np.ndarray,
    codes: np.ndarray,
    similarity: np.ndarray,
) -> dict[str, Any]:
    import numpy as np

    table: dict[str, Any] = {}
    for number, name in enumerate(labels):
        mine = gold == number
        right, said, true = int((mine & (codes == number)).sum()), int((codes == number).sum()), int(mine.sum())
        own = [verdict for verdict, example in zip(verdicts, golden, strict=True) if example.name == name]
        categories = [verdict.category_right for verdict in own if verdict.category is not None]
        measured = similarity[mine & ~np.isnan(similarity)]
        table[name] = {
            "n": true,
            "precision": right / said if said else 0.0,
            "recall": right / true,
            "f1": 2 * right / (said + true),
            "cta": sum(map(bool, categories)) / len(categories) if categories else None,
            "ss": float(measured.mean()) if len(measured) else None,
            "exact_match": sum(verdict.exact for verdict in own) / true,
            "errors": _errors(own),
        }
    return table


def _per_category(golden: Sequence[GoldenExample], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    groups: dict[str, list[tuple[str, Verdict]]] = {}
    for example, verdict in zip(golden, verdicts, strict=True):
        if verdict.category is not None:
            groups.setdefault(verdict.category[0], []).append((example.name, verdict))
    return {
        category: {
            "n": len(group),
            "cta": sum(bool(verdict.category_right) for _, verdict in group) / len(group),
            "function_accuracy": sum(verdict.function == name for name, verdict in group) / len(group),
            "exact_match": sum(verdict.exact for _, verdict in group) / len(group),
        }
        for category, group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    }


def _confusion(names: list[str], golden: Sequence[GoldenExample], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    pairs = Counter((example.name, verdict.function) for example, verdict in zip(golden, verdicts, strict=True))
    return _matrix(names, pairs)


def _category_confusion(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    found = [verdict.category for verdict in verdicts if verdict.category is not None]
    common = [name for name, _ in Counter(gold for gold, _ in found).most_common(_SHOWN_CATEGORIES)]
    known = {*common, NONE}
    pairs = Counter((gold if gold in known else _OTHER, said if said in known else _OTHER) for gold, said in found)
    pooled = [_OTHER] if any(_OTHER in pair for pair in pairs) else []
    return _matrix([*sorted(common), *pooled], pairs)


def _matrix(names: list[str], pairs: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """Square confusion matrix, gold in rows and predicted in columns; ``NONE`` comes last if it was predicted."""
    labels = [*names, NONE] if any(said == NONE for _, said in pairs) else names
    return {"labels": labels, "counts": [[pairs.get((gold, said), 0) for said in labels] for gold in labels]}
