"""Baselines without a language model, which a trained model must beat.

They see the model's training set and no golden query.

- **majority**: the most common function of the training set, with its most common arguments.
- **keywords**: a decision list. The function is chosen by the query's word, or pair of words, that predicts a function
  with the highest precision in the training set (add-one smoothing). The arguments are the longest values from that
  function's training examples that occur in the query.
- **nearest**: the calls of the most similar training query, by sentence embedding.

No call at all, and each combination of several functions, count as functions of their own.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from routenator.chat.replies import Reply
from routenator.domain.calls import Call, read_calls
from routenator.domain.functions import Function
from routenator.domain.golden import GoldenExample
from routenator.evaluation.metrics import Embed, score
from routenator.evaluation.verdict import Match, judge_reply
from routenator.validation.text import words

NAMES = ("majority", "keywords", "nearest")
_MOST = 20_000  # training examples used; more change little and make `nearest` slow
_BLOCK = 256  # queries compared at once
_LEAST = 3  # a keyword must occur in this many examples

Example = tuple[str, tuple[Call, ...]]  # query and calls
Key = TypeVar("Key", str, tuple[str, ...])
Label = tuple[str, ...]  # functions of the calls, in order; empty for no call


def read_examples(files: Sequence[Path], most: int = _MOST) -> list[Example]:
    """Read the first ``most`` training examples.

    Args:
        files: the training split of a data set as parquet, in order.
        most: maximum number of examples.
    """
    import polars as pl

    if not files:
        return []
    frame = pl.scan_parquet(list(files), glob=False).select("query", "calls").head(most).collect()
    calls = map(read_calls, frame["calls"].to_list())
    return [(query, tuple(several)) for query, several in zip(frame["query"].to_list(), calls, strict=True)]


def baseline_scores(
    train: Sequence[Example],
    golden: Sequence[GoldenExample],
    functions: Mapping[str, Function],
    embed: Embed,
    *,
    resamples: int,
    seed: int,
    match: Match = "own",
) -> dict[str, dict[str, Any]]:
    """Score each baseline on the golden set with ``metrics.score``; an empty result without training examples."""
    scores = {}
    for name in NAMES if train else ():
        replies = baseline_replies(name, train, [example.query for example in golden], embed)
        verdicts = [
            judge_reply(example, reply, functions, match) for example, reply in zip(golden, replies, strict=True)
        ]
        scores[name] = score(
            verdicts, functions, embed, resamples=resamples, seed=seed, languages=[one.language for one in golden]
        )
    return scores


def baseline_replies(name: str, train: Sequence[Example], queries: Sequence[str], embed: Embed) -> list[Reply]:
    """Return a baseline's reply to each query.

    Args:
        name: one of ``NAMES``.
        train: at least one example.
        queries: in any order; each reply depends only on its own query.
        embed: sentence embeddings, for ``nearest``.
    """
    makers: dict[str, Callable[[], list[Reply]]] = {
        "majority": lambda: _majority(train, len(queries)),
        "keywords": lambda: _keywords(train, queries),
        "nearest": lambda: _nearest(train, queries, embed),
    }
    return makers[name]()


def _majority(train: Sequence[Example], count: int) -> list[Reply]:
    label = _commonest(Counter(_label(calls) for _, calls in train))
    texts = Counter(json.dumps(calls, sort_keys=True) for _, calls in train if _label(calls) == label)
    return [Reply(tuple(Call(*call) for call in json.loads(_commonest(texts))))] * count


def _keywords(train: Sequence[Example], queries: Sequence[str]) -> list[Reply]:
    seen: dict[str, Counter[Label]] = defaultdict(Counter)
    labels: Counter[Label] = Counter()
    for query, calls in train:
        labels[_label(calls)] += 1
        for term in _terms(query):
            seen[term][_label(calls)] += 1
    rules: dict[str, tuple[float, int, Label]] = {}
    for term, counts in seen.items():
        total = counts.total()
        if total >= _LEAST:
            best = _commonest(counts)
            rules[term] = ((counts[best] + 1) / (total + len(labels)), counts[best], best)
    values = _values(train)
    fallback = _commonest(labels)
    replies = []
    for query in queries:
        fired = [(rules[term], term) for term in _terms(query) if term in rules]
        label = max(fired)[0][2] if fired else fallback
        said = words(query)
        replies.append(Reply(tuple(Call(name, _spoken(said, values.get(name, {}))) for name in label)))
    return replies


def _nearest(train: Sequence[Example], queries: Sequence[str], embed: Embed) -> list[Reply]:
    import numpy as np

    known = embed([query for query, _ in train])
    replies: list[Reply] = []
    for low in range(0, len(queries), _BLOCK):
        asked = embed(list(queries[low : low + _BLOCK]))
        replies.extend(Reply(train[at][1]) for at in np.argmax(asked @ known.T, axis=1).tolist())
    return replies


def _terms(query: str) -> set[str]:
    said = words(query)
    return {*said, *(f"{a} {b}" for a, b in itertools.pairwise(said))}


def _values(train: Sequence[Example]) -> dict[str, dict[str, dict[tuple[str, ...], Any]]]:
    """Map function -> parameter -> words of a value -> value."""
    table: dict[str, dict[str, dict[tuple[str, ...], Any]]] = defaultdict(lambda: defaultdict(dict))
    for call in (call for _, calls in train for call in calls):
        for parameter, value in call.arguments.items():
            said = words(str(value))
            if said:
                table[call.name][parameter].setdefault(said, value)
    return table


def _spoken(said: tuple[str, ...], values: Mapping[str, Mapping[tuple[str, ...], Any]]) -> dict[str, Any]:
    """Find each parameter's longest known value in the query's words; ties go to the first in the query."""
    spans = [said[low:high] for low in range(len(said)) for high in range(low + 1, len(said) + 1)]
    spans.sort(key=lambda span: -len(span))
    found = {
        parameter: next((known[span] for span in spans if span in known), None) for parameter, known in values.items()
    }
    return {parameter: value for parameter, value in found.items() if value is not None}


def _label(calls: tuple[Call, ...]) -> Label:
    return tuple(call.name for call in calls)


def _commonest(counts: Counter[Key]) -> Key:
    """The most common key; ties go to the first in sort order, so that the order of examples does not matter."""
    return min(counts, key=lambda key: (-counts[key], key))
