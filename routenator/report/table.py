"""The result table in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routenator.report.summary import METRICS, interval, rate_text, rejections, seconds_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_summary(summary: Mapping[str, Any], console: Console, run_dir: str | Path | None = None) -> None:
    """Print scores before and after training, rows at each step, speed and time of each stage, and paths.

    Args:
        summary: the value of report/summary.json; parts of a run that are not finished yet are left out.
        run_dir: prefix of the paths; if given, paths that do not exist are left out.
    """
    run = summary["run"]
    console.print()
    console.print(f"{run['name']}  {run['title']}", style="bold", markup=False, highlight=False)
    if summary["scores"]["after"] or summary["scores"]["before"]:
        console.print(scores_table(summary["scores"], summary.get("scored_on", "golden set")))
        _print_cut_off(summary["scores"], console)
        found = languages_table(summary["scores"])
        if found is not None:
            table = plain_table("By language, with 95% intervals", "language", "queries", *found["columns"])
            for name, queries, values in found["rows"]:
                table.add_row(name, f"{queries:,}", *map(score_text, values))
            console.print(table)
    if summary["baselines"]:
        console.print(baselines_table(summary["baselines"]))
    console.print(counts_table(summary))
    if len(summary["rounds"]) > 1:
        console.print(rounds_table(summary["rounds"]))
    console.print(stages_table(summary))
    print_places(summary["places"], run_dir, console)


def plain_table(title: str, *columns: str) -> Table:
    """An empty table; the first column is aligned left, the others right."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    return table


def score_text(score: Any) -> str:
    """Format a score: 0.912 [0.880, 0.941], or a dash if it was not measured."""
    found = interval(score)
    if found is None:
        return "-"
    value, low, high = found
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def scores_table(scores: Mapping[str, Any], scored_on: str = "golden set") -> Table:
    """Each metric before and after training, with its 95% interval.

    Args:
        scored_on: ``golden set``, or what stood in for it.
    """
    from rich.text import Text

    sides = {"before": scores.get("before"), "after": scores.get("after"), **scores}
    shown = scores.get("after") or scores.get("before") or {}
    queries = "golden queries" if scored_on == "golden set" else f"queries of a {scored_on}"
    table = plain_table(f"Scores on {shown.get('n', '?')} {queries}, with 95% intervals", "metric", *sides)
    for key, name in METRICS.items():
        if key in shown:
            table.add_row(name, *(Text(score_text(side.get(key)) if side else "-") for side in sides.values()))
    return table


def _print_cut_off(scores: Mapping[str, Any], console: Console) -> None:
    """Say it if a trained model's replies did not come to their end; an untrained one hardly ever finds an end."""
    for name in ("after", "guided"):
        side = scores.get(name) or {}
        if side.get("cut_off"):
            console.print(
                f"{side['cut_off']:,} of {side['n']:,} replies ({name}) were cut off; a larger "
                "evaluate.max_new_tokens lets them come to their end",
                style="yellow", highlight=False, soft_wrap=True,
            )  # fmt: skip


LANGUAGE_MEASURES = ("function_f1_micro", "cta", "argument_f1", "exact_match")


def languages_table(scores: Mapping[str, Any]) -> dict[str, Any] | None:
    """The trained model's scores by language: names of the columns, and rows of language, queries and scores.

    Args:
        scores: by side, as in summary.json.
    """
    table = (scores.get("after") or scores.get("before") or {}).get("per_language")
    if not table:
        return None
    shown = [key for key in LANGUAGE_MEASURES if any(interval(row.get(key)) for row in table.values())]
    rows = [(name, row["n"], [row.get(key) for key in shown]) for name, row in table.items()]
    return {"columns": [METRICS[key] for key in shown], "rows": rows}


def baselines_table(baselines: Mapping[str, Any]) -> Table:
    """Scores of the baselines, which a trained model must beat."""
    from rich.text import Text

    table = plain_table("Scores of baselines without a language model", "metric", *baselines)
    for key, name in METRICS.items():
        if not any(key in side for side in baselines.values()):
            continue
        values = [side.get(key, {}).get("value") for side in baselines.values()]
        table.add_row(name, *(Text("-" if value is None else f"{value:.3f}") for value in values))
    return table


def counts_table(summary: Mapping[str, Any]) -> Table:
    """Rows at each step, with rejections by reason."""
    from rich.text import Text

    counts = summary["counts"]
    table = plain_table("Rows", "step", "rows", "share")

    def row(name: str, number: Any, of: Any, style: str = "") -> None:
        table.add_row(Text(name, style=style), f"{number:,}", f"{number / of:.1%}" if of else "", style=style or None)

    requested = counts["requested"]
    row("requested", requested, 0)
    row("generated", counts["generated"], requested)
    for reason, number, where in rejections(counts):
        if where == "check":
            row(f"  rejected: {reason}", number, requested, "dim")
    row("accepted", counts["accepted"], requested)
    for reason, number, where in rejections(counts):
        if where == "merge":
            row(f"  dropped: {reason}", number, requested, "dim")
    if "final" in counts:
        row("final", counts["final"], requested)
        row("  train", counts["train"], 0)
        row("  validation", counts["validation"], 0)
        if counts["backfilled"]:
            row("  filled from other strata of the same cell", counts["backfilled"], 0)
        if counts["missing"]:
            row(f"short of the {counts['wanted']:,} wanted", counts["missing"], 0, "yellow")
    return table


def rounds_table(rounds: Sequence[Mapping[str, Any]]) -> Table:
    """Rows requested, accepted, kept and used from each round: the first run, its second round, and each top-up."""
    steps = ("requested", "accepted", "kept", "final")
    table = plain_table("Rounds (kept: after checks and dedup)", "round", *steps)
    for row in rounds:
        table.add_row(row["name"], *(f"{row[step]:,}" for step in steps))
    return table


def stages_table(summary: Mapping[str, Any]) -> Table:
    """Shards, rows, seconds and speed of each stage."""
    table = plain_table("Stages", "stage", "shards", "rows", "time", "tokens/s")
    for stage in summary["stages"]:
        speed = stage["metrics"].get("tokens_per_second")
        table.add_row(
            stage["stage"],
            str(stage["shards"]) if stage["done"] == stage["shards"] else f"{stage['done']} of {stage['shards']}",
            f"{stage['rows']:,}",
            seconds_text(stage["seconds"]),
            rate_text(speed) if speed else "",
        )
    table.add_row("all", "", "", seconds_text(summary["seconds"]), "", style="bold")
    return table


def print_places(places: Mapping[str, str], run_dir: str | Path | None, console: Console) -> None:
    """Print the paths of the run's output, each on a line that is never broken: people copy them."""
    from rich.text import Text

    # A pilot has no adapter, and a running one has none yet.
    there = {name: place for name, place in places.items() if run_dir is None or (Path(run_dir) / place).exists()}
    width = max(map(len, there), default=0)
    for name, place in there.items():
        path = place if run_dir is None else str(Path(run_dir) / place)
        console.print(Text(f"{name:{width}}  {path}"), soft_wrap=True)
