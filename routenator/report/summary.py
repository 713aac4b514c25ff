"""All figures of a run as one JSON value, the source of the HTML report and the terminal table.

Pure functions: callers pass in the contents of the stages' receipts and files; nothing is read here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

SUMMARY_FORMAT = 1
# Key in scores.json -> its name in tables, in their order.
METRICS = {
    "function_f1_macro": "Function F1, macro",
    "function_f1_micro": "Function F1, micro",
    "functions_right": "All functions right",
    "cta": "Content-type accuracy",
    "ss": "Subprompt similarity",
    "exact_match": "Exact call match",
    "argument_f1": "Argument F1",
    "unparsable": "Unparsable replies",
    "false_call": "Calls where none is wanted",
    "missed_call": "Words where a call is wanted",
}
# The same keys, explained on the page.
EXPLAINED = {
    "function_f1_macro": "F1 of choosing the right function; all functions weigh the same",
    "function_f1_micro": "F1 of choosing the right function; all calls weigh the same",
    "functions_right": "share of queries with the right functions, each as often as wanted",
    "cta": "share of calls whose function and category are both right",
    "ss": "how near the free text of the call is to the wanted one: cosine of sentence embeddings, 1 for the same text",
    "exact_match": "share of queries with every call and every argument right",
    "argument_f1": "F1 of pairs of argument and value",
    "unparsable": "share of replies that cannot be read as calls; 0 is best",
    "false_call": "share of the queries that want no call which got one; 0 is best",
    "missed_call": "share of the queries that want a call which got words; 0 is best",
}
# Name -> path relative to the run directory.
PLACES = {
    "data set": "dataset/",
    "adapter": "adapter/",
    "scores": "scores.json",
    "predictions": "predictions.jsonl",
    "report": "report/index.html",
    "plan": "plan.json",
    "logs": "logs/",
}
_POINTS = 400  # of the loss curve


def build_summary(
    *,
    run: Mapping[str, Any],
    stages: Sequence[Mapping[str, Any]],
    merge: Mapping[str, Any] | None,
    training: Sequence[Mapping[str, Any]],
    scores: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Assemble the summary of a run.

    Args:
        run: name, domain, title, plan fingerprint, created, version, commit.
        stages: one row per stage, from ``stage_row``, in the order of the run.
        merge: merge.json, or None if the stage has not finished.
        training: rows of training.jsonl (step, loss, grad_norm, learning_rate, tokens_per_second).
        scores: scores.json, or None.
    """
    generate = next((stage for stage in stages if stage["stage"] == "generate"), {})
    counts = dict(merge["counts"]) if merge else _counts(generate.get("metrics", {}))
    return {
        "format": SUMMARY_FORMAT,
        "run": dict(run),
        "counts": counts,
        "generate": {
            key: generate.get("metrics", {}).get(key)
            for key in ("tokens", "prompt_tokens", "tokens_per_second", "by_route")
        },
        "stages": [dict(stage) for stage in stages],
        "seconds": sum(stage["seconds"] for stage in stages),
        "scores": {
            "before": (scores or {}).get("before"),
            "after": (scores or {}).get("after"),
            **({"guided": scores["guided"]} if scores and "guided" in scores else {}),
        },
        "scored_on": (scores or {}).get("queries", "golden set"),
        "baselines": (scores or {}).get("baselines", {}),
        "training": {"steps": thin(training, _POINTS), "rows": len(training)},
        "distribution": merge["distribution"] if merge else None,
        "rounds": _named(merge["rounds"]) if merge else [],
        "deficits": merge["deficits"] if merge else [],
        "words": merge["words"] if merge else {},
        "golden_words": merge.get("golden_words", {}) if merge else {},
        "positions": merge["positions"] if merge else {},
        "generators": merge["generators"] if merge else {},
        "examples": merge["examples"] if merge else [],
        "places": dict(PLACES),
    }


def _named(rounds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rounds of a merge; one of an earlier version has no names, and no second round in a run."""
    return [{"name": f"top-up {number}" if number else "first run", **row} for number, row in enumerate(rounds)]


def _counts(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "requested": metrics.get("requested", 0),
        "generated": metrics.get("generated", 0),
        "accepted": metrics.get("accepted", 0),
        "rejected": metrics.get("rejected", {}),
        "dropped": {},
    }


def stage_row(stage: str, shards: int, receipts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Summarise one stage from the receipts of its finished shards.

    Args:
        stage: its name.
        shards: how many it has, finished or not.
        receipts: each with rows, seconds, host, attempt, metrics.

    Returns:
        stage, shards, done, rows, seconds (summed over shards), longest (seconds of the slowest shard), hosts, retried
        (shards that took more than one attempt), metrics (summed; ``tokens_per_second`` is a task's average).
    """
    return {
        "stage": stage,
        "shards": shards,
        "done": len(receipts),
        "rows": sum(receipt["rows"] for receipt in receipts),
        "seconds": round(sum(receipt["seconds"] for receipt in receipts), 3),
        "longest": max((receipt["seconds"] for receipt in receipts), default=0.0),
        "hosts": len({receipt["host"] for receipt in receipts}),
        "retried": sum(receipt["attempt"] > 1 for receipt in receipts),
        "metrics": add_metrics([receipt["metrics"] for receipt in receipts]),
    }


def add_metrics(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Combine the metrics of a stage's shards: add numbers, merge tables key by key, weight rates by time."""
    if len(metrics) == 1:
        return dict(metrics[0])
    total: dict[str, Any] = {}
    for name in {name for one in metrics for name in one}:
        values = [one[name] for one in metrics if one.get(name) is not None]
        if all(isinstance(value, Mapping) for value in values):
            total[name] = add_metrics(values) if values else {}
        elif name.endswith("_per_second"):
            total[name] = mean_rate(metrics, name)
        elif all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            total[name] = sum(values)
        else:
            total[name] = values[0] if len({str(value) for value in values}) == 1 else values
    return dict(sorted(total.items()))


def mean_rate(metrics: Sequence[Mapping[str, Any]], name: str) -> float:
    """One task's average rate of several: work by time, the plain mean of the rates where the work is not recorded."""
    unit = name.removesuffix("_per_second")
    rates = [(one.get(unit), one[name]) for one in metrics if one.get(name)]
    work = sum(done or 0 for done, _ in rates)
    seconds = sum((done or 0) / rate for done, rate in rates)
    if work and seconds:
        return float(work / seconds)
    return sum(rate for _, rate in rates) / len(rates) if rates else 0.0


def thin(rows: Sequence[Mapping[str, Any]], count: int) -> list[dict[str, Any]]:
    """At most ``count`` evenly spaced rows, including the first and the last."""
    if len(rows) <= count:
        return [dict(row) for row in rows]
    places = sorted({round(number * (len(rows) - 1) / (count - 1)) for number in range(count)})
    return [dict(rows[place]) for place in places]


def interval(score: Any) -> tuple[float, float | None, float | None] | None:
    """Return (value, low, high) of one metric in scores.json, or None if it was not measured."""
    if isinstance(score, Mapping):
        value = score.get("value")
        return None if value is None else (float(value), score.get("low"), score.get("high"))
    return (float(score), None, None) if isinstance(score, int | float) and not isinstance(score, bool) else None


def rejections(counts: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """(reason, rows, ``check`` or ``merge``) of all rows that did not become examples, most frequent first."""
    rows = Counter({(reason, "check"): number for reason, number in counts.get("rejected", {}).items()})
    rows.update({(reason, "merge"): number for reason, number in counts.get("dropped", {}).items() if number})
    return [
        (reason, number, where)
        for (reason, where), number in sorted(rows.items(), key=lambda item: (-item[1], item[0]))
        if number
    ]


def rate_text(rate: float) -> str:
    """Format a rate the same everywhere: 1,234, 12.3, 0.123."""
    digits = 0 if rate >= 100 else 1 if rate >= 1 else 3
    return f"{rate:,.{digits}f}"


def seconds_text(seconds: float) -> str:
    """Format a duration: 4.2 s, 3 min 5 s, 2 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
