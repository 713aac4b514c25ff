"""What a task reads of earlier stages: the strata, and the candidates of its own run and of those that a top-up builds
on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.plan import Run, StagePlan
from jobs.task import Receipt, Task, read_receipt, receipt_path, verify_file
from routenator.errors import CorruptShardError, StageError
from routenator.files import read_json
from routenator.sampling.strata import KEY, Stratum


def candidate_files(task: Task) -> tuple[list[tuple[str, Path]], list[int]]:
    """(label, path) of every shard of candidates in the order of the index, each checked against its receipt; and the
    rows of each round.

    Raises:
        StageError: a shard is missing, or a stage does not hold as many rows as the plan says.
        CorruptShardError: a file is missing or its size or sha256 differs.
    """
    files: list[tuple[str, Path]] = []
    rounds: list[int] = []
    plan = task.run.plan
    for part in plan.base:
        rows = 0
        for receipt, directory in part_receipts(task.run, part.generate, f"generate of {part.run}"):
            path = receipt.path(directory)
            verify_file(path, receipt)
            files.append((f"generate shard {receipt.shard} of {part.run}", path))
            rows += receipt.rows
        if rows != part.rows:
            raise StageError(f"generate of {part.run} holds {rows} candidates, and this plan was made for {part.rows}")
        rounds.append(rows)
    own = list(task.input_receipts("generate"))
    files += [(f"generate shard {number}", path) for number, path in enumerate(task.input_files("generate"))]
    return files, [*rounds, sum(receipt.rows for receipt, _ in own)]


def part_receipts(run: Run, stage: StagePlan, label: str) -> Iterator[tuple[Receipt, Path]]:
    """The receipts of a stage, also of an earlier run, in shard order, each with that stage's directory.

    Raises:
        StageError: a shard is missing.
    """
    directory = run.part_dir(stage)
    for index in range(stage.shards):
        receipt = read_receipt(directory, index)
        if receipt is None:
            raise StageError(
                f"{label}, shard {index}, is gone: no {receipt_path(directory, index)}; "
                "`retry` of that run makes it again"
            )
        yield receipt, directory


def read_strata(run: Run, sample: StagePlan | None = None, label: str = "sample") -> list[Stratum]:
    """What the requests' stratum numbers mean: the strata of a sample stage, number i at place i.

    Args:
        sample: of an earlier run; None: the run's own.
        label: what to call it in an error.

    Raises:
        StageError: shard 0, which keeps them, is missing or has none.
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
    """Check that the runs before a top-up mean the same by a stratum's number.

    Raises:
        StageError: they do not, or a shard is missing.
    """
    for part in run.plan.base:
        different = same_strata(read_strata(run, part.sample, f"sample of {part.run}"), strata)
        if different:
            raise StageError(f"the strata of {part.run} are not those of this top-up: {different}")


def same_strata(before: Sequence[Stratum], now: Sequence[Stratum]) -> str | None:
    """Where two runs' strata differ in their names or quotas, in words; None if they do not."""
    if len(before) != len(now):
        return f"{len(before)} strata before, {len(now)} now"
    for number, (old, new) in enumerate(zip(before, now, strict=True)):
        was, became = ([*(getattr(row, name) for name in KEY), row.quota] for row in (old, new))
        if was != became:
            return f"stratum {number} was {was}, and is {became}"
    return None
