"""Plans top-ups: runs that request only the rows an earlier run lacks, and merge both to the full quotas.

    RUN -> RUN-topup1 -> RUN-topup2    each a run with its own plan; what it builds on is read in place, never changed
           RUN-topup1-data             with several rounds: only sample, generate and merge, to see what is missing

A top-up's request indices continue after those of the runs before it. Everything random about a row follows from its
index, so a top-up's rows are new, whatever the number of shards.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.entry import STAGE_PACKAGE
from jobs.inputs import part_receipts, read_strata, same_strata
from jobs.plan import Measured, Part, Plan, Run, StagePlan
from jobs.stages import SECOND_ROUND, STAGES
from jobs.task import Receipt, read_receipt, verify_file
from routenator.config import RunConfig
from routenator.dataset.rounds import rejections
from routenator.dataset.sources import MEND
from routenator.domain.loader import load_domain
from routenator.errors import CorruptShardError, InputError
from routenator.files import read_json, sha256_file
from routenator.sampling.acceptance import Acceptance, load_acceptance
from routenator.sampling.needs import Need, find_need
from routenator.sampling.strata import Stratum, build_strata
from routenator.schemas import CANDIDATE_COLUMNS, NEWER_COLUMNS
from slurm.planning.measured import FILE
from slurm.planning.planner import TopUp, make_plan

_NAME = re.compile(r"(?P<stem>.+?)-topup(?P<number>\d+)(-data)?")


@dataclass(frozen=True)
class GivenUp:
    """A stratum that was given up, and why.

    Attributes:
        name: function / category / route / template / length / language.
        lacks: missing rows.
        requested: number of the last requests, none of which survived.
        reasons: the most common rejection reasons, with their number of rows.
        examples: two rows: query, reason, detail.
    """

    name: str
    lacks: int
    requested: int
    reasons: list[tuple[str, int]] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)


def merge_receipt(run: Run) -> Receipt:
    """Return the receipt of the run's merge.

    Raises:
        InputError: the merge is not done.
    """
    receipt = read_receipt(run.stage_dir("merge"), 0)
    if receipt is None:
        raise InputError(
            "this run has no merged data set yet, so what it lacks is unknown",
            file=run.path,
            found="its merge is not done",
            expected="a run whose merge is done; see `status`, and resume it by `retry`",
        )
    return receipt


def look(run: Run) -> Need:
    """Return the rows that the run's data set lacks, by stratum, and the requests that would fill them.

    Raises:
        InputError: the merge is not done, or this version cannot read the run's domain or candidates, or builds
            different strata from the domain.
        CorruptShardError: a file differs from its receipt, or cannot be read.
    """
    receipt, directory = merge_receipt(run), run.stage_dir("merge")
    for role in ("summary", "acceptance"):
        verify_file(receipt.path(directory, role), receipt, role)
    deficits = read_json(receipt.path(directory, "summary"))["deficits"]
    return find_need(_strata(run), deficits, load_acceptance(directory / FILE), run.config)


def _strata(run: Run) -> list[Stratum]:
    made_by = f"the code that made it (its snapshot is in {run.path / 'code'}), or a new run"
    try:
        domain = load_domain(run.domain_dir)
    except InputError as error:
        raise InputError(
            "this version of the code cannot read the run's domain",
            file=error.file,
            found=error.message,
            expected=made_by,
        ) from None
    strata = build_strata(domain, run.config)
    different = same_strata(read_strata(run), strata)
    if different:
        raise InputError(
            "this version of the code builds different strata from the run's domain",
            file=run.path,
            found=different,
            expected=made_by,
        )
    _check_columns(run, made_by)
    return strata


def _check_columns(run: Run, made_by: str) -> None:
    """Refuse candidates that the merge of a top-up could not read. A stage's shards all have the same columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for label, stage in _generated(run):
        receipt, directory = next(part_receipts(run, stage, label))
        file = receipt.path(directory)
        try:
            missing = CANDIDATE_COLUMNS.keys() - {*pq.read_schema(file).names, *NEWER_COLUMNS}
        except (OSError, pa.ArrowException) as error:
            raise CorruptShardError(f"{label}, shard 0 ({file}) cannot be read: {error}; {MEND}") from error
        if missing:
            raise InputError(
                "this version of the code cannot read the run's candidates",
                file=file,
                found=f"no column {', '.join(sorted(missing))}",
                expected=made_by,
            )


def _generated(run: Run) -> Iterator[tuple[str, StagePlan]]:
    """Yield the stages of candidates that a top-up of the run builds on, with names for messages; its own first."""
    for part in (_own_stages(run), *run.plan.base):
        yield f"generate of {part.run}", part.generate
        if part.refill is not None:
            yield f"refill of {part.run}", part.refill


def topup_path(run: Run, data_only: bool = False) -> Path:
    """Return the directory of a run's next top-up."""
    found = _NAME.fullmatch(run.path.name)
    stem, number = (found["stem"], int(found["number"]) + 1) if found else (run.path.name, 1)
    return run.path.parent / f"{stem}-topup{number}{'-data' if data_only else ''}"


def plan_topup(
    run: Run,
    need: Need,
    path: Path,
    *,
    stages: Sequence[str],
    shards: int | None = None,
    command: Sequence[str] = (),
    package: str = STAGE_PACKAGE,
) -> Plan:
    """Make the plan of a top-up.

    Args:
        run: the run that it builds on.
        need: from ``look``.
        path: its run directory, beside the run.
        stages: its stages.
        shards: shards of generate; None: as many as the run's, but no more than there are chunks.

    Raises:
        InputError: there is nothing to request, or the run's snapshot of the domain differs from its plan.
    """
    if not any(need.asked):
        raise InputError(
            "there is nothing to request", file=run.path, found="no stratum that is short and not given up"
        )
    config = _config(run, path, sum(need.asked), shards)
    merge = run.stage_dir("merge")
    measured = Measured(file=str(merge / FILE), sha256=sha256_file(merge / FILE))
    topup = TopUp([_part(part, run, path) for part in (*run.plan.base, _own_part(run))], need.asked, measured)
    plan = make_plan(config, command, package, stages=stages, topup=topup)
    if (plan.domain_sha256, plan.golden_sha256) != (run.plan.domain_sha256, run.plan.golden_sha256):
        raise InputError(
            "the run's snapshot of its domain was changed",
            file=run.domain_dir,
            found="content that differs from the plan's",
            expected="the files as they were when the run was made",
        )
    return plan


def _config(run: Run, path: Path, rows: int, shards: int | None) -> RunConfig:
    old = run.config
    chunks = max(1, -(-rows // old.generate.chunk_rows))
    generate = {"shards": shards or min(old.generate.shards, chunks), "acceptance": None}
    return old.model_copy(
        update={
            "domain": str(run.domain_dir),
            "golden": None,  # the snapshot's
            "root": str(Path(os.path.normpath(run.path / run.plan.stages["merge"].dir)).parent.parent),
            "run_dir": str(path),
            "sample": old.sample.model_copy(update={"shards": 1}),
            "generate": old.generate.model_copy(update=generate),
        }
    )


def _own_stages(run: Run) -> Part:
    stages = run.plan.stages
    return Part(
        run=run.path.name, sample=stages["sample"], generate=stages["generate"], refill=stages.get("refill"), rows=0
    )


def _own_part(run: Run) -> Part:
    part = _own_stages(run)
    rows = sum(
        receipt.rows
        for stage in part.candidates
        for receipt, _ in part_receipts(run, stage, f"the candidates of {run.path.name}")
    )
    return part.model_copy(update={"rows": rows})


def _part(part: Part, run: Run, path: Path) -> Part:
    """Return the part with its folders relative to another run directory."""

    def moved(stage: StagePlan) -> StagePlan:
        return stage.model_copy(update={"dir": os.path.relpath(run.part_dir(stage), path)})

    named = {"sample": part.sample, "generate": part.generate, "refill": part.refill}
    return part.model_copy(update={name: moved(stage) for name, stage in named.items() if stage is not None})


def builds_on(topup: Run, run: Run) -> bool:
    """Whether ``topup`` is a direct top-up of ``run``."""
    base = topup.plan.base
    return (
        bool(base)
        and [stage.fingerprint for stage in base[-1].candidates]
        == [stage.fingerprint for stage in _own_stages(run).candidates]
        and len(base) == len(run.plan.base) + 1
    )


def pilot_config(config: RunConfig, rows: int) -> RunConfig:
    """Return the config of a pilot: the same, but with few rows and tasks, planned by ``generate.oversample``.

    Raises:
        InputError: the pilot would not be smaller than the run.
    """
    if rows >= config.dataset.size:
        raise InputError(
            "a pilot must be smaller than its run",
            key="--rows",
            found=rows,
            expected=f"fewer than dataset.size, {config.dataset.size}",
        )
    chunks = max(1, -(-rows // config.generate.chunk_rows))
    return config.model_copy(
        update={
            "name": f"{config.name}-pilot",
            "run_dir": None,
            "dataset": config.dataset.model_copy(update={"size": rows}),
            "sample": config.sample.model_copy(update={"shards": 1}),
            "generate": config.generate.model_copy(
                update={"shards": min(config.generate.shards, chunks), "acceptance": None}
            ),
        }
    )


def later_stages(run: Run) -> tuple[str, ...]:
    """Return the stages of a top-up: those of the run, so a pilot's top-up ends with merge too.

    A top-up is itself a further round, so it has no second one.
    """
    return tuple(stage for stage in STAGES if stage in run.plan.stages and stage not in SECOND_ROUND)


def given_up(run: Run, need: Need) -> Iterator[GivenUp]:
    """Yield each hopeless stratum with its most common rejection reasons and two examples."""
    if not need.hopeless:
        return
    files = [
        receipt.path(directory)
        for label, stage in _generated(run)
        for receipt, directory in part_receipts(run, stage, label)
    ]
    rejected = sorted((run.stage_dir("merge") / "dataset").glob("rejected*.parquet"))
    for number, (reasons, examples) in rejections(files, rejected, need.hopeless).items():
        yield GivenUp(stratum_name(need.strata[number]), need.wanted[number], need.hopeless[number], reasons, examples)


def stratum_name(row: Stratum) -> str:
    """Return function / category / template / length / language; the template's name already includes the route."""
    return " / ".join((row.function, row.category, row.template, row.length, row.language))


def measured_of(run: Run) -> Acceptance:
    """Return the acceptance measured by a run's merge.

    Raises:
        InputError: the merge is not done.
    """
    merge_receipt(run)
    return load_acceptance(run.stage_dir("merge") / FILE)
