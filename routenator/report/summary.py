"""All figures of a run as one JSON value: what the HTML report and the terminal table are made of.

Pure: it is handed what the stages' receipts and files say, and reads nothing itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

SUMMARY_FORMAT = 1
# Key in scores.json -> what people call it, in the order of the tables.
METRICS = {
    "function_f1_macro": "Function F1, macro",
    "function_f1_micro": "Function F1, micro",
    "cta": "Content-type accuracy",
    "ss": "Subprompt similarity",
    "exact_match": "Exact call match",
    "argument_f1": "Argument F1",
    "unparsable": "Unparsable replies",
}
# What is where, relative to the run directory.
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
    """The summary.

    Args:
        run: name, domain, title, plan fingerprint, created, version, commit.
        stages: one row a stage, from ``stage_row``, in the order of the run.
        merge: merge.json, or None if the stage is not done.
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
        "scores": {"before": (scores or {}).get("before"), "after": (scores or {}).get("after")},
        "baselines": (scores or {}).get("baselines", {}),
        "training": {"steps": thin(training, _POINTS), "rows": len(training)},
        "distribution": merge["distribution"] if merge else None,
        "rounds": merge["rounds"] if merge else [],
        "deficits": merge["deficits"] if merge else [],
        "words": merge["words"] if merge else {},
        "golden_words": merge.get("golden_words", {}) if merge else {},
        "positions": merge["positions"] if merge else {},
        "generators": merge["generators"] if merge else {},
        "examples": merge["examples"] if merge else [],
        "places": dict(PLACES),
    }


def _counts(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "requested": metrics.get("requested", 0),
        "generated": metrics.get("generated", 0),
        "accepted": metrics.get("accepted", 0),
        "rejected": metrics.get("rejected", {}),
        "dropped": {},
    }


def stage_row(stage: str, shards: int, receipts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One stage from the receipts of its finished shards.

    Args:
        receipts: each with rows, seconds, host, attempt, metrics.

    Returns:
        stage, shards, done, rows, seconds (of all shards together), longest (seconds of the slowest), hosts, retried
        (shards that took more than one attempt), metrics (added up; ``tokens_per_second`` is that of one task on
        average).
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
    """Metrics of a stage's shards as one: numbers added up, tables merged key by key, rates averaged by the time they
    were kept up.
    """
    if len(metrics) == 1:
        return dict(metrics[0])
    total: dict[str, Any] = {}
    for name in {name for one in metrics for name in one}:
        values = [one[name] for one in metrics if one.get(name) is not None]
        if all(isinstance(value, Mapping) for value in values):
            total[name] = add_metrics(values) if values else {}
        elif name.endswith("_per_second"):
            total[name] = _mean_rate(metrics, name)
        elif all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            total[name] = sum(values)
        else:
            total[name] = values[0] if len({str(value) for value in values}) == 1 else values
    return dict(sorted(total.items()))


def _mean_rate(metrics: Sequence[Mapping[str, Any]], name: str) -> float:
    """Work of all shards over the time of all shards; plainly averaged where the work is not told."""
    unit = name.removesuffix("_per_second")
    rates = [(one.get(unit), one[name]) for one in metrics if one.get(name)]
    work = sum(done or 0 for done, _ in rates)
    seconds = sum((done or 0) / rate for done, rate in rates)
    if work and seconds:
        return float(work / seconds)
    return sum(rate for _, rate in rates) / len(rates) if rates else 0.0


def thin(rows: Sequence[Mapping[str, Any]], count: int) -> list[dict[str, Any]]:
    """At most ``count`` rows, evenly spread, with the first and the last."""
    if len(rows) <= count:
        return [dict(row) for row in rows]
    places = sorted({round(number * (len(rows) - 1) / (count - 1)) for number in range(count)})
    return [dict(rows[place]) for place in places]


def interval(score: Any) -> tuple[float, float | None, float | None] | None:
    """(value, low, high) of one metric in scores.json; None if it was not measured."""
    if isinstance(score, Mapping):
        value = score.get("value")
        return None if value is None else (float(value), score.get("low"), score.get("high"))
    return (float(score), None, None) if isinstance(score, int | float) and not isinstance(score, bool) else None


def rejections(counts: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """(reason, rows, where) of everything that did not become an example, most frequent first."""
    rows = Counter({(reason, "check"): number for reason, number in counts.get("rejected", {}).items()})
    rows.update({(reason, "merge"): number for reason, number in counts.get("dropped", {}).items() if number})
    return [
        (reason, number, where)
        for (reason, where), number in sorted(rows.items(), key=lambda item: (-item[1], item[0]))
        if number
    ]


def seconds_text(seconds: float) -> str:
    """A duration as a person says it: 4.2 s, 3 min 5 s, 2 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
