"""Commands that judge models: score one, compare two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routenator.compose import find_domain
from routenator.config import EvaluateConfig, TrainConfig
from routenator.evaluation.run import evaluate_model
from routenator.files import check_writable
from routenator.parsing import parse_model
from slurm.commands.shared import AsJson, Cache, console_for_output, load_run, print_json, with_exit_codes
from slurm.experiments.compare_runs import compare_runs, print_comparison
from slurm.watching.follow import print_scores

app = typer.Typer()


@app.command()
@with_exit_codes
def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="An adapter's folder, or a base model: hub id, folder, package:NAME.")
    ],
    domain: Annotated[str, typer.Option("--domain", help="A domain's name or folder.")],
    golden: Annotated[Path, typer.Option("--golden", help="Golden file, JSON lines.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for scores.json and predictions.jsonl.")] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="compact or tools. Default: as in training.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="vllm or transformers.")] = "vllm",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Number of engines.")] = 1,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Score a random sample of this size; 0: all queries.")
    ] = 0,
    cache: Cache = Path(".cache"),
    as_json: AsJson = False,
) -> None:
    """Score a base model or an adapter on a golden file."""
    settings = parse_model(EvaluateConfig, {"engine": engine, "workers": workers, "limit": limit}, "the command line")
    check_writable(cache, "--cache")
    if out is not None:
        check_writable(out, "--out")
    style = parse_model(TrainConfig, {"prompt": prompt}, "the command line").prompt if prompt else None
    scores = evaluate_model(model, find_domain(domain), golden, out, cache=cache, config=settings, prompt=style)
    if as_json:
        print_json(scores)
    else:
        print_scores(scores, console_for_output())


@app.command()
@with_exit_codes
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="A run directory.")],
    second: Annotated[Path, typer.Argument(metavar="RUN_B", help="Another, evaluated on the same golden queries.")],
    as_json: AsJson = False,
) -> None:
    """Test whether RUN_B is better than RUN_A.

    Uses the same queries for both: paired bootstrap intervals and McNemar's exact test.
    """
    value = compare_runs(load_run(first), load_run(second))
    if as_json:
        print_json(value)
    else:
        print_comparison(value, console_for_output())
