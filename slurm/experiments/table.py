"""Renders an experiment's results as table.md, from results.json alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from routenator.report.summary import METRICS, seconds_text
from routenator.report.table import score_text


def render_table(results: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """Render the page as Markdown."""
    # Derived domains have their own copies of the same file; list it once.
    golden = ", ".join(
        dict.fromkeys(f"{file['rows']:,} queries (sha256 {file['sha256'][:12]})" for file in provenance["golden"])
    )
    lines = [f"# {results['name']}", "", results["question"], ""]
    lines += [f"Golden set: {golden}. Commit {provenance['commit']}, {provenance['date']}.", ""]
    if "confirms" in results:
        said = f"{results['left_out']:,} queries were" if results["left_out"] else "no query was"
        lines += [
            f"These are the models of `{results['confirms']}`, scored on different queries than before; "
            f"{said} left out for occurring in a training set or in the first golden set.",
            "",
        ]
    if results["missing"]:
        lines += [f"**Not complete**: {len(results['missing'])} runs are missing: {', '.join(results['missing'])}.", ""]
    arms = {name: arm for name, arm in results["arms"].items() if arm["seeds"]}
    measures = [name for name in METRICS if any(name in arm["measures"] for arm in arms.values())]
    if arms:
        lines += ["## Scores", ""]
        lines += markdown(
            ["arm", "seeds", *(METRICS[name] for name in measures)],
            [
                [arm["title"], str(len(arm["seeds"])), *(score_text(arm["measures"].get(name)) for name in measures)]
                for arm in arms.values()
            ],
        )
        lines += ["", _method(results), ""]
    if results["verdicts"]:
        title = results["arms"][results["reference"]]["title"]
        lines += [f"## Differences to {title}", ""]
        lines += markdown(
            ["arm", *(METRICS[name] for name in measures)],
            [
                [arm["title"], *(_signed(arm["measures"].get(name, {}).get("difference")) for name in measures)]
                for name_, arm in arms.items()
                if name_ != results["reference"]
            ],
        )
        lines += ["", *(f"- {found['sentence']}" for found in results["verdicts"]), ""]
    lines += _languages(results, measures)
    lines += ["## Each run", ""]
    lines += markdown(
        [
            "arm",
            "seed",
            *(METRICS[name] for name in measures),
            "rows",
            "accepted",
            "steps",
            "loss",
            "tokens/s",
            "training",
        ],
        [_run_row(run, results["arms"][run["arm"]]["title"], measures) for run in results["runs"]],
    )
    return "\n".join(lines) + "\n"


def _method(results: Mapping[str, Any]) -> str:
    how = results["intervals"]
    return (
        "Each number is the mean over seeds on the whole golden set, "
        f"with its {how['level']:.0%} interval from a percentile "
        f"bootstrap of {how['resamples']:,} resamples (seed {how['seed']}), which draws queries "
        "(the same for all arms) and seeds (of each arm). "
        "So an interval covers chance in the golden set, in sampling and in training, but only roughly with few seeds."
    )


def _languages(results: Mapping[str, Any], measures: Sequence[str]) -> list[str]:
    """The scores by language, and their differences to English on the same queries."""
    found = results.get("languages")
    if not found:
        return []
    titles = {name: arm["title"] for name, arm in results["arms"].items()}
    rows = [(code, table, name) for name in titles for code, table in found.items() if table["arms"].get(name)]
    lines = ["## By language", ""]
    lines += markdown(
        ["arm", "language", "queries", *(METRICS[name] for name in measures)],
        [
            [titles[name], code, f"{table['queries']:,}"]
            + [score_text(table["arms"][name].get(measure)) for measure in measures]
            for code, table, name in rows
        ],
    )
    compared = []
    for code, table, name in rows:
        english = [(table["arms"][name].get(measure) or {}).get("english") or {} for measure in measures]
        queries = next((one["queries"] for one in english if one), None)
        if queries is not None:
            differences = [_signed(one.get("difference")) for one in english]
            ratios = [score_text(one.get("ratio")) for one in english]
            compared.append([titles[name], code, f"{queries:,}", *differences, *ratios])
    if compared:
        lines += ["", "## Against English, on the same queries", ""]
        heads = [*(METRICS[name] for name in measures), *(f"{METRICS[name]}, ratio" for name in measures)]
        lines += markdown(["arm", "language", "queries", *heads], compared)
        lines += [
            "",
            "These are of the queries that have the same id in both languages. "
            "Each resample draws the same of these for both, and the same seeds.",
        ]
    return [*lines, ""]


def _signed(score: Mapping[str, Any] | None) -> str:
    if score is None:
        return "-"
    return f"{score['value']:+.3f} [{score['low']:+.3f}, {score['high']:+.3f}]"


def _run_row(run: Mapping[str, Any], title: str, measures: Sequence[str]) -> list[str]:
    counts, training = run["data"]["counts"], run["training"]
    values = [run["scores"].get(name, {}).get("value") for name in measures]
    loss, share = training.get("loss"), run["data"]["acceptance"]
    return [
        title,
        str(run["seed"]),
        *("-" if value is None else f"{value:.3f}" for value in values),
        f"{counts['final']:,}",
        "-" if share is None else f"{share:.1%}",
        f"{training['steps']:,}",
        "-" if loss is None else f"{loss:.3f}",
        f"{training['tokens_per_second']:.0f}",
        seconds_text(training["seconds"]),
    ]


def short_scores(scores: Mapping[str, Any], measures: Sequence[str]) -> str:
    """Return one run's scores in one line."""
    return ", ".join(
        f"{METRICS[name]} {scores[name]['value']:.3f}"
        for name in measures
        if (scores.get(name) or {}).get("value") is not None
    )


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    written = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [head, *rows]
    ]
    return [written[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *written[1:]]
