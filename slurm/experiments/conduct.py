"""Conducts an experiment, from its config to its results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routenator.config import RunConfig
from routenator.errors import InputError
from routenator.files import write_atomic, write_json
from routenator.report.summary import seconds_text
from routenator.terminal import put
from slurm.experiments.ceiling import Fold, folds_of, read_folds
from slurm.experiments.charts import write_charts
from slurm.experiments.collect import Reader, golden_file, results_of
from slurm.experiments.config import Arm, Experiment, run_config
from slurm.experiments.confirm import Confirmation, confirmations_of, read_confirmations
from slurm.experiments.distribution import distributions_of, render_distributions
from slurm.experiments.planned import Entry, check_fit, check_routes, entries_of, work_folder
from slurm.experiments.provenance import provenance
from slurm.experiments.runner import Ended, Stopped, Work, run_all, why
from slurm.experiments.table import render_table
from slurm.planning.planner import check_golden, checkout_commit, compile_loops, golden_source
from slurm.preflight.checks import check_inputs, preflight
from slurm.preflight.installed import check_packages

if TYPE_CHECKING:
    from rich.console import Console

Say = Callable[[str], None]
Piece = Entry | Fold | Confirmation


def conduct(
    experiment: Experiment,
    folder: Path,
    *,
    parallel: int,
    only: Sequence[str],
    collecting: bool,
    say: Say,
    confirm: Path | None = None,
) -> int:
    """Run what is missing, then write the results so far.

    Args:
        folder: folder of the results.
        parallel: number of runs at once on this machine.
        only: arms to run; empty: all.
        collecting: run nothing.
        say: prints a line.
        confirm: train nothing, but score the trained models on this golden file.

    Returns:
        Exit code: 0 everything is done, or was submitted to a cluster; 1 something failed, or is missing when
        collecting; 130 or 143 stopped.
    """
    check_arms(experiment, only)
    commit = checkout_commit()
    works = _pieces(experiment, confirm)
    wanted = [work for work in works if isinstance(work, Fold) or not only or _entry(work).arm in only]
    startable = [work for work in wanted if not isinstance(work, Confirmation) or work.ready]
    if wanted and not startable:
        say("no model is trained yet; run the same command without --confirm to train them")
    code = 0 if collecting else _run(startable, experiment, parallel, say)
    _write(experiment, works, folder, commit, say)
    missing = [work.name for work in wanted if work.missing()]
    if not missing:
        return 0
    say(f"{len(missing)} of {len(wanted)} are missing: {', '.join(missing)}")
    if code == 0 and not collecting and isinstance(wanted[0], Entry) and _config(wanted[0]).cluster.kind == "slurm":
        say("They were submitted to the cluster. Once they are done, run the same command with --collect.")
        return 0
    return code or 1


def check_arms(experiment: Experiment, only: Sequence[str]) -> None:
    """Check that the arms exist.

    Raises:
        InputError: one does not.
    """
    for name in only:
        if name not in experiment.arms:
            raise InputError("no such arm", key="--arm", found=name, valid=experiment.arms)


def _pieces(experiment: Experiment, confirm: Path | None) -> Sequence[Piece]:
    if confirm is not None:
        return confirmations_of(experiment, confirm)
    return folds_of(experiment) if experiment.kind == "ceiling" else entries_of(experiment)


def _entry(work: Entry | Confirmation) -> Entry:
    return work.entry if isinstance(work, Confirmation) else work


def _config(work: Piece) -> RunConfig:
    return work.job.config if isinstance(work, Fold) else _entry(work).plan.config


def _golden(work: Piece) -> Path:
    if isinstance(work, Confirmation):
        return work.golden
    return Path(work.job.golden) if isinstance(work, Fold) else golden_source(work.plan.config)


def _run(works: Sequence[Piece], experiment: Experiment, parallel: int, say: Say) -> int:
    todo = [work for work in works if work.missing()]
    say(f"{experiment.name}: {len(works)} runs, {len(works) - len(todo)} of them already done")
    if not todo:
        return 0
    # Report errors before anything runs. One run per arm is enough, as seeds cannot differ in anything that is checked.
    first: dict[str, Entry] = {}
    for work in todo:
        if isinstance(work, Entry):
            first.setdefault(work.arm, work)
    for work in first.values():
        preflight(work.plan)
    config = _config(todo[0])
    if not first:
        check_inputs(config)
        confirming = isinstance(todo[0], Confirmation)
        check_packages(config, {"evaluate"} if confirming else {"train", "evaluate"})
    on_cluster = config.cluster.kind == "slurm" and bool(first)
    numbers = {work.name: number for number, work in enumerate(todo, 1)}

    def began(work: Work, log: Path) -> None:
        say(f"[{numbers[work.name]}/{len(todo)}] {work.name} started; log: {log}")

    def told(ended: Ended) -> None:
        place = f"[{numbers[ended.work.name]}/{len(todo)}] {ended.work.name}"
        left = "" if ended.left_s is None or on_cluster else f"; about {seconds_text(ended.left_s)} left"
        if ended.code:
            say(f"{place} failed: {why(ended)} (log: {ended.log}){left}")
        elif ended.work.missing():
            say(
                f"{place} was submitted"
                if on_cluster
                else f"{place} ended but is not complete (log: {ended.log}){left}"
            )
        else:
            say(f"{place}: {ended.work.summary()} ({seconds_text(ended.seconds)}{left})")

    if first:
        compile_loops(config)
    try:
        ended = run_all(
            todo, work_folder(experiment, config.root), 1 if on_cluster else parallel, told=told, began=began
        )
    except Stopped as stop:
        say("stopped; finished work is kept, and the same command resumes")
        sys.exit(128 + stop.number)
    return int(any(one.code for one in ended))


def _write(experiment: Experiment, works: Sequence[Piece], folder: Path, commit: str | None, say: Say) -> None:
    """Write the results so far: results.json, provenance.json, table.md, charts."""
    done = [work for work in works if not work.missing()]
    if not done:
        return
    missing = [work.name for work in works if work.missing()]
    files = {_golden(work) for work in done} | ({Path(experiment.fit)} if experiment.fit is not None else set())
    root = Path(_config(done[0]).root)
    origin = provenance(experiment, [golden_file(file, root) for file in sorted(files)], commit)
    entries = [work for work in done if isinstance(work, Entry)]
    if experiment.kind == "distribution":
        results = distributions_of(experiment, entries, missing)
        table = render_distributions(results, origin)
    else:
        reader = Reader()
        again, left_out = read_confirmations([work for work in done if isinstance(work, Confirmation)])
        read = (
            again
            or [reader.read(work) for work in entries]
            or read_folds([work for work in works if isinstance(work, Fold)])
        )
        if not read:
            return
        results = results_of(experiment, read, missing)
        if again:
            results |= {"name": folder.name, "confirms": experiment.name, "left_out": left_out}
        table = render_table(results, origin)
    write_json(folder / "results.json", results)
    write_json(folder / "provenance.json", origin)
    write_atomic(folder / "table.md", table)
    charts = write_charts(results, folder)
    put(table)
    say(f"results: {folder}/: table.md, results.json, provenance.json, {', '.join(charts)}")


def print_runs(experiment: Experiment, console: Console, only: Sequence[str]) -> None:
    """Print each run with its settings.

    Raises:
        InputError: no such arm, no golden file, or settings that contradict each other.
    """
    from rich import box
    from rich.table import Table

    check_arms(experiment, only)
    check_fit(experiment)
    changes = {} if experiment.golden is None else {"golden": experiment.golden}
    table = Table("arm", "seed", "domain", "settings", box=box.SIMPLE_HEAD, pad_edge=False)
    for seed in experiment.seeds:
        for name in experiment.rows:
            if only and name not in only:
                continue
            given: dict[str, Any] = {"name": f"{experiment.name}-{name}", "seed": seed, **changes}
            composed, overrides = run_config(experiment, name if experiment.arms else None, given)
            check_golden(golden_source(composed))
            if experiment.arms:
                check_routes(experiment, name, composed)
            arm = experiment.arms[name] if experiment.arms else Arm()
            changed = "" if arm.derive is None else f" with {arm.derive.model_dump_json(exclude_defaults=True)}"
            changed = " by domain init" if arm.init else changed
            changed += "" if experiment.fit is None else f", fitted to {Path(experiment.fit).name}"
            table.add_row(name, str(seed), Path(composed.domain).name + changed, " ".join(overrides))
    console.print(f"{experiment.name}: {experiment.question}", markup=False, highlight=False)
    console.print(table, markup=False)
