"""Compares two runs on the same golden queries, scoring their saved replies again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jobs.plan import Run
from routenator.dataset.files import split_files
from routenator.domain.functions import Function, load_functions
from routenator.domain.golden import GoldenExample, load_golden
from routenator.errors import InputError
from routenator.evaluation.embed import remembering
from routenator.evaluation.holdout import SYNTHETIC, held_out
from routenator.evaluation.paired import compare_files
from routenator.report.table import score_text

if TYPE_CHECKING:
    from rich.console import Console

_NAMES = {
    "function": "Function right",
    "exact_match": "Exact call match",
    "cta": "Content-type accuracy",
    "ss": "Subprompt similarity",
}


def compare_runs(first: Run, second: Run) -> dict[str, Any]:
    """Return the second run's trained model minus the first's; the first run's seed, resamples and `match` are used.

    Raises:
        InputError: a run has not been evaluated, or the two have different queries or APIs.
    """
    for run in (first, second):
        if not (run.path / "predictions.jsonl").is_file():
            raise InputError(
                "this run has not been evaluated",
                file=run.path,
                found="no predictions.jsonl",
                expected="a run that is done",
            )
    functions = load_functions(first.domain_dir / "functions.json")
    others = load_functions(second.domain_dir / "functions.json")
    if [function.tool() for function in functions.values()] != [function.tool() for function in others.values()]:
        raise InputError(
            "the two runs have different APIs",
            file=second.path,
            found=", ".join(others),
            expected=", ".join(functions),
        )
    found = compare_files(
        first.path / "predictions.jsonl",
        second.path / "predictions.jsonl",
        _asked(first, second, functions),
        functions,
        remembering(first.config.model.embedder, first.config.cache),
        seed=first.config.seed,
        resamples=first.config.evaluate.bootstrap,
        match=first.config.evaluate.match,
        same_embedder=first.config.model.embedder == second.config.model.embedder,
    )
    return {"first": first.path.name, "second": second.path.name, **found}


def _asked(first: Run, second: Run, functions: Mapping[str, Function]) -> list[GoldenExample]:
    """The queries with their calls that two runs were scored on: golden ones, or without any the synthetic hold-outs.

    Raises:
        InputError: one was scored on golden queries and the other was not.
    """
    golden, others = (load_golden(run.golden_file, functions, may_be_empty=True) for run in (first, second))
    if bool(golden) != bool(others):
        raise InputError(
            "the two runs were scored on different kinds of queries",
            file=second.path,
            found="golden queries" if others else f"a {SYNTHETIC}",
            expected="golden queries" if golden else f"a {SYNTHETIC}",
        )
    if golden:
        return golden
    # Two runs with the same data have the same hold-out; those of others may still have some queries in common.
    rows = [held_out(split_files(run.path / "dataset", "validation"), functions) for run in (second, first)]
    return list({example.query: example for part in rows for example in part}.values())


def print_comparison(value: Mapping[str, Any], console: Console) -> None:
    """Print the differences as a table."""
    from rich import box
    from rich.table import Table

    console.print(
        f"{value['second']} minus {value['first']}, on {value['n']} common queries", markup=False, highlight=False
    )
    for title, found in {"": value, **value.get("languages", {})}.items():
        table = Table(
            "metric", "difference [95% interval]", "McNemar p", box=box.SIMPLE_HEAD, pad_edge=False,
            title=f"{title}: {found['n']} queries" if title else None, title_justify="left",
        )  # fmt: skip
        for key, name in _NAMES.items():
            if key in found:
                p = found[key].get("p_value")
                table.add_row(name, score_text(found[key]["difference"]), "" if p is None else f"{p:.2g}")
        console.print(table)
