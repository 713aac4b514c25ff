"""All scores of one model on one golden set, as defined in docs/method.md.

- **function F1**: F1 of the predicted function, counted over calls; ``none`` is a function that queries without a call
  call once. Macro: mean over functions; micro: from the pooled counts. Only functions that occur in the golden set
  count. A reply that cannot be read, or a function outside that set, is a false negative for the gold function and no
  false positive for another.
- **CTA** (content-type accuracy): of the golden calls that have the category parameter, the share with function and
  category right.
- **SS** (subprompt similarity): cosine similarity of the sentence embeddings of gold and predicted subprompt, averaged
  over the golden calls that have the subprompt parameter; 0 if none was predicted. The paper gives no formula; this
  one is ours.
- **functions right**: of the golden queries, the share with the same functions called, each as often.
- **exact match**: the same calls in any order: same functions and same arguments, ignoring case and whitespace in
  texts; none missing and none extra.
- **argument F1**: over pooled (name, value) pairs; with a wrong function no pair counts as right.
- **false call**: of the golden queries that want no call, the share that got one.
- **missed call**: of the golden queries that want a call, the share that got words instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from routenator.domain.functions import Function
from routenator.domain.schema import NO_CALL
from routenator.evaluation.bootstrap import Statistic, interval, mean_of, ratio_of
from routenator.evaluation.verdict import ERRORS, NONE, CallVerdict, Verdict

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
Embed = Callable[[list[str]], "np.ndarray"]  # texts -> float32 of shape (texts, dimensions), rows of length 1

_SHOWN_CATEGORIES = 30  # rows of the category confusion matrix; the rest are pooled
_OTHER = "(other)"


def score(
    verdicts: Sequence[Verdict],
    functions: Mapping[str, Function],
    embed: Embed,
    *,
    resamples: int,
    seed: int,
    languages: Sequence[str | None] = (),
) -> dict[str, Any]:
    """Compute the scores of one model in the format of ``scores.json``, without the speed.

    Args:
        verdicts: one for each golden query, in its order.
        functions: the API.
        embed: sentence embeddings for SS.
        resamples: bootstrap samples for the intervals, which draw queries.
        seed: seed of the bootstrap.
        languages: of the queries, in the same order, where the golden file says them.
    """

    labels = labels_of(verdicts, functions)
    gold, said = function_counts(verdicts, labels)
    similarity = similarities(verdicts, embed)
    found = _measures(verdicts, labels, gold, said, similarity, resamples, seed)
    by_language = {
        language: _measures(own, *_counted(own, functions), similarities(own, embed), resamples, seed)
        for language, own in by_language_of(verdicts, languages).items()
    }
    return {
        **found,
        **({"per_language": by_language} if by_language else {}),
        "per_function": _per_function(verdicts, labels, gold, said, similarity),
        "per_category": _per_category(verdicts),
        "confusion": _confusion([*labels, *(name for name in functions if name not in labels)], verdicts),
        "confusion_categories": _category_confusion(verdicts),
        "errors": _errors(verdicts),
    }


def by_language_of(values: Sequence[T], languages: Sequence[str | None]) -> dict[str, list[T]]:
    """Group values of queries by language, in the order of the codes; empty if fewer than two languages are known.

    Args:
        values: one for each query.
        languages: of the queries, in the same order; empty: none is known.
    """
    groups: dict[str, list[T]] = {}
    for value, language in zip(values, languages, strict=False):
        if language is not None:
            groups.setdefault(language, []).append(value)
    return dict(sorted(groups.items())) if len(groups) > 1 else {}


def _counted(
    verdicts: Sequence[Verdict], functions: Mapping[str, Function]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    labels = labels_of(verdicts, functions)
    return (labels, *function_counts(verdicts, labels))


def _measures(
    verdicts: Sequence[Verdict],
    labels: Sequence[str],
    gold: np.ndarray,
    said: np.ndarray,
    similarity: np.ndarray,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """All measures with their intervals, and what they count."""
    import numpy as np

    def estimate(statistic: Statistic, n: int) -> dict[str, float | None]:
        return interval(statistic, n, resamples, seed).as_dict()

    def share(values: Iterable[bool]) -> dict[str, float | None]:
        array = np.array(list(values), dtype=float)
        return estimate(mean_of(array), len(array))

    def of_calls(values: np.ndarray) -> dict[str, float | None]:
        total, count = per_query(verdicts, values)
        measured = count > 0
        return estimate(ratio_of(total[measured], count[measured]), int(measured.sum()))

    category = categories_right(verdicts)
    matched = np.array([2 * sum(call.matched for call in verdict.calls) for verdict in verdicts], dtype=float)
    pairs = np.array([sum(call.predicted + call.wanted for call in verdict.calls) for verdict in verdicts], dtype=float)
    n = len(verdicts)
    no_call = [verdict.called for verdict in verdicts if not verdict.wants_call]
    return {
        "function_f1_macro": estimate(f1_statistic(gold, said, macro=True), n),
        "function_f1_micro": estimate(f1_statistic(gold, said, macro=False), n),
        "functions_right": share(verdict.function_right for verdict in verdicts),
        "cta": of_calls(category),
        "ss": of_calls(similarity),
        "exact_match": share(verdict.exact for verdict in verdicts),
        "argument_f1": estimate(ratio_of(matched, pairs), n),
        "unparsable": share(verdict.unparsable for verdict in verdicts),
        **({"false_call": share(no_call)} if no_call else {}),
        "missed_call": share(verdict.missed for verdict in verdicts if verdict.wants_call),
        "n": n,
        "n_cta": int((~np.isnan(category)).sum()),
        "n_ss": int((~np.isnan(similarity)).sum()),
        "n_no_call": len(no_call),
    }


def calls_of(verdicts: Iterable[Verdict]) -> Iterator[CallVerdict]:
    """Yield the comparisons of all calls."""
    for verdict in verdicts:
        yield from verdict.calls


def _errors(verdicts: Iterable[Verdict | CallVerdict]) -> dict[str, int]:
    """Count the queries or calls with each kind of error, in the order of ``ERRORS``."""
    found = Counter(kind for verdict in verdicts for kind in {kind for kind, _ in verdict.errors})
    return {kind: found[kind] for kind in ERRORS if found[kind]}


def categories_right(verdicts: Sequence[Verdict]) -> np.ndarray:
    """1 for each call whose function and category are right.

    Returns:
        float64 of shape (calls of all verdicts,); NaN where the gold call has no category.
    """
    import numpy as np

    right = (call.category_right for call in calls_of(verdicts))
    return np.array([np.nan if value is None else float(value) for value in right])


def similarities(verdicts: Sequence[Verdict], embed: Embed) -> np.ndarray:
    """Cosine similarity of gold and predicted subprompts; embeds nothing where ``with_similarities`` was applied.

    Returns:
        float64 of shape (calls of all verdicts,); NaN where the gold call has no subprompt, 0 where none was predicted.
    """
    import numpy as np

    calls = list(calls_of(verdicts))
    result = np.array([np.nan if call.similarity is None else call.similarity for call in calls])
    texts: dict[str, int] = {}
    for call in calls:
        if call.similarity is None and call.subprompt is not None and call.subprompt[1] is not None:
            for text in call.subprompt:
                texts.setdefault(str(text), len(texts))
    vectors = embed(list(texts)) if texts else np.zeros((0, 1))
    for number, call in enumerate(calls):
        if call.similarity is None and call.subprompt is not None:
            gold, said = call.subprompt
            result[number] = 0.0 if said is None else float(np.dot(vectors[texts[gold]], vectors[texts[said]]))
    return result


def with_similarities(verdicts: Sequence[Verdict], embed: Embed) -> list[Verdict]:
    """Return the verdicts with the similarity of each pair of subprompts, so that no one needs to embed them again."""
    values = iter(similarities(verdicts, embed).tolist())
    return [
        replace(
            verdict,
            calls=tuple(
                replace(call, similarity=None if call.subprompt is None else value)
                for call, value in zip(verdict.calls, values, strict=False)
            ),
        )
        for verdict in verdicts
    ]


def per_query(verdicts: Sequence[Verdict], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum values of calls by query.

    Args:
        values: float of shape (calls of all verdicts,); NaN is left out.

    Returns:
        Sums and numbers of values, float64 of shape (verdicts,).
    """
    import numpy as np

    query = np.repeat(np.arange(len(verdicts)), [len(verdict.calls) for verdict in verdicts])
    known = ~np.isnan(values)
    query, values = query[known], values[known]
    total = np.bincount(query, weights=values, minlength=len(verdicts))
    return total, np.bincount(query, minlength=len(verdicts)).astype(float)


def labels_of(verdicts: Iterable[Verdict], functions: Mapping[str, Function]) -> list[str]:
    """The functions in the golden set, in the API's order, and ``NO_CALL`` if a query wants no call."""
    found = {name for verdict in verdicts for name in verdict.gold}
    return [name for name in (*functions, NO_CALL) if name in found]


def function_counts(verdicts: Sequence[Verdict], labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Count the gold and the predicted calls of each function.

    Returns:
        Two float64 arrays of shape (queries, labels); calls of functions outside ``labels`` are not counted.
    """
    import numpy as np

    code = {name: number for number, name in enumerate(labels)}
    gold, said = np.zeros((len(verdicts), len(labels))), np.zeros((len(verdicts), len(labels)))
    for number, verdict in enumerate(verdicts):
        for table, names in ((gold, verdict.gold), (said, verdict.said)):
            for name in names:
                if name in code:
                    table[number, code[name]] += 1
    return gold, said


def f1_statistic(gold: np.ndarray, said: np.ndarray, *, macro: bool) -> Statistic:
    """F1 of the predicted functions as a statistic for the bootstrap; with one call for each query it equals
    scikit-learn's ``f1_score`` with these labels.

    Args:
        gold, said: calls of each function, float of shape (n, labels).
        macro: True for the mean of the labels' F1, False for F1 of the pooled counts. A label that is neither gold nor
            predicted in a resample has no F1 there and is left out of the mean; in the full set every label occurs.
    """
    import numpy as np

    weighed = weighed_f1(gold, said, macro=macro)

    def statistic(rows: np.ndarray) -> np.ndarray:
        n = len(gold)
        offsets = np.arange(len(rows))[:, None] * n
        weights = np.bincount((rows + offsets).ravel(), minlength=len(rows) * n).reshape(len(rows), n)
        return weighed(weights.astype(float))

    return statistic


def weighed_f1(gold: np.ndarray, said: np.ndarray, *, macro: bool) -> Callable[[np.ndarray], np.ndarray]:
    """``f1_statistic`` as a function of weights, float of shape (resamples, n): how often each query was drawn."""
    import numpy as np

    right_of = np.minimum(gold, said)

    def statistic(weights: np.ndarray) -> np.ndarray:
        right, called, true = weights @ right_of, weights @ said, weights @ gold
        if not macro:
            right, called, true = (part.sum(axis=1, keepdims=True) for part in (right, called, true))
        below = called + true
        scores = np.divide(2 * right, below, out=np.zeros_like(right), where=below != 0)
        found: np.ndarray = scores.sum(axis=1) / np.maximum((below != 0).sum(axis=1), 1)
        return found

    return statistic


def _per_function(
    verdicts: Sequence[Verdict], labels: list[str], gold: np.ndarray, said: np.ndarray, similarity: np.ndarray
) -> dict[str, Any]:
    import numpy as np

    right, called, true = np.minimum(gold, said).sum(axis=0), said.sum(axis=0), gold.sum(axis=0)
    calls = list(calls_of(verdicts))
    table: dict[str, Any] = {}
    for number, name in enumerate(labels):
        own: Sequence[Verdict | CallVerdict] = [call for call in calls if call.gold == name]
        if name == NO_CALL:  # also the gold of extra calls
            own = [verdict for verdict in verdicts if not verdict.wants_call] or own
        mine = np.array([call.gold == name for call in calls])
        categories = [call.category_right for call in calls if call.gold == name and call.category is not None]
        measured = similarity[mine & ~np.isnan(similarity)]
        table[name] = {
            "n": int(true[number]),
            "precision": float(right[number] / called[number]) if called[number] else 0.0,
            "recall": float(right[number] / true[number]),
            "f1": float(2 * right[number] / (called[number] + true[number])),
            "cta": sum(map(bool, categories)) / len(categories) if categories else None,
            "ss": float(measured.mean()) if len(measured) else None,
            "exact_match": sum(one.exact for one in own) / int(true[number]),
            "errors": _errors(own),
        }
    return table


def _per_category(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    groups: dict[str, list[CallVerdict]] = {}
    for call in calls_of(verdicts):
        if call.category is not None:
            groups.setdefault(call.category[0], []).append(call)
    return {
        category: {
            "n": len(group),
            "cta": sum(bool(call.category_right) for call in group) / len(group),
            "function_accuracy": sum(call.said == call.gold for call in group) / len(group),
            "exact_match": sum(call.exact for call in group) / len(group),
        }
        for category, group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    }


def _confusion(names: list[str], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    pairs = Counter((call.gold, call.said) for call in calls_of(verdicts))
    words = [NO_CALL] if NO_CALL not in names and any(NO_CALL in pair for pair in pairs) else []
    return _matrix([*names, *words], pairs)


def _category_confusion(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    found = [call.category for call in calls_of(verdicts) if call.category is not None]
    common = [name for name, _ in Counter(gold for gold, _ in found).most_common(_SHOWN_CATEGORIES)]
    known = {*common, NONE}
    pairs = Counter((gold if gold in known else _OTHER, said if said in known else _OTHER) for gold, said in found)
    pooled = [_OTHER] if any(_OTHER in pair for pair in pairs) else []
    return _matrix([*sorted(common), *pooled], pairs)


def _matrix(names: list[str], pairs: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """Square confusion matrix, gold in rows and predicted in columns; ``NONE`` comes last if it was predicted."""
    labels = [*names, NONE] if any(said == NONE for _, said in pairs) else names
    return {"labels": labels, "counts": [[pairs.get((gold, said), 0) for said in labels] for gold in labels]}
