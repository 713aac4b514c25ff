"""Reads the output of earlier stages: strata, candidates and decisions of a run, and of the runs a top-up builds on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.plan import Run, StagePlan
from jobs.task import Receipt, Task, read_receipt, receipt_path, verify_file
from routenator.dataset.decisions import CODES, Decisions
from routenator.errors import CorruptShardError, StageError
from routenator.files import read_json
from routenator.sampling.strata import KEY, Stratum

SECOND = "second round"


def candidate_files(task: Task, second_round: bool = True) -> tuple[list[tuple[str, Path]], dict[str, int]]:
    """Return (label, path) of every shard of candidates, in index order and verified, and the rows of each round.

    Args:
        second_round: whether to include the run's own second round, if it has one that requested anything.

    Returns:
        (files, name of the round -> its rows).

    Raises:
        StageError: a shard is missing, or a stage has another number of rows than the plan says.
        CorruptShardError: a file is missing or its size or sha256 differs.
    """
    files: list[tuple[str, Path]] = []
    rounds: dict[str, int] = {}
    plan = task.run.plan

    def add(name: str, receipts: Iterator[tuple[Receipt, Path]], owner: str = "") -> int:
        rows = 0
        for receipt, directory in receipts:
            path = receipt.path(directory)
            verify_file(path, receipt)
            files.append((f"{receipt.stage} shard {receipt.shard}{owner}", path))
            rows += receipt.rows
        if rows or name != SECOND:
            rounds[name] = rows
        return rows

    for number, part in enumerate(plan.base):
        owner = f" of {part.run}"
        rows = add(_round(number), part_receipts(task.run, part.generate, f"generate{owner}"), owner)
        if part.refill is not None:
            rows += add(SECOND, part_receipts(task.run, part.refill, f"refill{owner}"), owner)
        if rows != part.rows:
            raise StageError(f"generate of {part.run} has {rows} candidates, but this plan was made for {part.rows}")
    add(_round(len(plan.base)), task.input_receipts("generate"))
    if second_round and "refill" in plan.stages:
        add(SECOND, task.input_receipts("refill"))
    return files, rounds


def _round(number: int) -> str:
    return f"top-up {number}" if number else "first run"


def earlier_decisions(task: Task) -> Decisions | None:
    """Return the decisions of the run's ``shortfall`` on the same candidates; None if a second round added some.

    Raises:
        StageError: a shard is missing.
        CorruptShardError: a file is missing or its size or sha256 differs.
    """
    if "shortfall" not in task.run.plan.stages:
        return None
    ((receipt, directory),) = task.input_receipts("shortfall")
    if CODES not in receipt.files:
        return None
    for role in receipt.files:
        verify_file(receipt.path(directory, role), receipt, role)
    return Decisions.load(directory, receipt.files[CODES]["name"].removesuffix(CODES))


def part_receipts(run: Run, stage: StagePlan, label: str) -> Iterator[tuple[Receipt, Path]]:
    """Yield the receipts of a stage, possibly of an earlier run, in shard order, each with that stage's directory.

    Raises:
        StageError: a shard is missing.
    """
    directory = run.part_dir(stage)
    for index in range(stage.shards):
        receipt = read_receipt(directory, index)
        if receipt is None:
            raise StageError(
                f"{label}, shard {index}, is missing: no {receipt_path(directory, index)}; "
                "run `retry` on that run to restore it"
            )
        yield receipt, directory


def read_strata(run: Run, sample: StagePlan | None = None, label: str = "sample") -> list[Stratum]:
    """Read the strata of a sample stage. Stratum i is at position i; requests refer to strata by these numbers.

    Args:
        sample: the stage of an earlier run; None: the run's own.
        label: name of the stage in error messages.

    Raises:
        StageError: shard 0, which holds them, is missing or has none.
        CorruptShardError: the file differs from its receipt, is not JSON, or its rows are not numbered 0, 1, 2 ...
    """
    receipt, directory = next(part_receipts(run, sample or run.plan.stages["sample"], label))
    if "strata" not in receipt.files:
        raise StageError(f"{label} shard 0 ({directory}) has no strata.json")
    path = receipt.path(directory, "strata")
    verify_file(path, receipt, "strata")
    try:
        strata = [Stratum(**row) for row in read_json(path)]
    except ValueError as error:
        raise CorruptShardError(f"{label} shard 0 ({path}) is not JSON: {error}") from error
    if any(row.stratum != number for number, row in enumerate(strata)):
        raise CorruptShardError(f"{label} shard 0 ({path}): the strata are not numbered 0, 1, 2 ...")
    return strata


def check_same_strata(run: Run, strata: Sequence[Stratum]) -> None:
    """Check that a top-up and the runs it builds on number their strata alike.

    Raises:
        StageError: they do not, or a shard is missing.
    """
    for part in run.plan.base:
        different = same_strata(read_strata(run, part.sample, f"sample of {part.run}"), strata)
        if different:
            raise StageError(f"the strata of {part.run} differ from those of this top-up: {different}")


def same_strata(before: Sequence[Stratum], now: Sequence[Stratum]) -> str | None:
    """Describe where two runs' strata differ in names or quotas; None if they do not."""
    if len(before) != len(now):
        return f"{len(before)} strata before, {len(now)} now"
    for number, (old, new) in enumerate(zip(before, now, strict=True)):
        was, became = ([*(getattr(row, name) for name in KEY), row.quota] for row in (old, new))
        if was != became:
            return f"stratum {number} was {was}, and is {became}"
    return None
