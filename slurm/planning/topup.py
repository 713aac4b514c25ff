"""Top-ups: a run that asks only for what an earlier one lacks, and merges both to the full quotas.

RUN          -> RUN-topup1 -> RUN-topup2     each a run with a plan of its own; what it builds on is read where it lies
and never changed
                RUN-topup1-data              where several rounds are made: only sample, generate and merge, to see what
                is still missing

A top-up's requests have indices that go on after those before it. Everything random about a row follows from its index,
so its rows are new ones, whatever the number of shards.
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
from jobs.stages import STAGES
from jobs.task import Receipt, read_receipt, verify_file
from routenator.config import RunConfig
from routenator.dataset.rounds import rejections
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.files import read_json, sha256_file
from routenator.sampling.acceptance import HOPELESS_AFTER, Acceptance, load_acceptance
from routenator.sampling.strata import Stratum, build_strata
from slurm.planning.measured import FILE, requests
from slurm.planning.planner import TopUp, make_plan

_NAME = re.compile(r"(?P<stem>.+?)-topup(?P<number>\d+)(-data)?")


@dataclass(frozen=True)
class Need:
    """What a finished merge lacks, and what to ask for.

    Attributes:
        strata: of the run.
        wanted: rows that each stratum lacks of its quota, back-filled places included.
        asked: requests of each stratum for them; 0 where nothing is wanted, or nothing to be hoped for.
        hopeless: of the strata that lack rows, those of which none of ``HOPELESS_AFTER`` requests or more survived, in
            the newest round or in all: number -> those requests.
        limited: how many strata would need more requests than ``generate.oversample_limit`` allows.
    """

    strata: list[Stratum]
    wanted: list[int]
    asked: list[int]
    hopeless: dict[int, int]
    limited: int

    @property
    def short(self) -> list[int]:
        """Numbers of the strata that lack rows."""
        return [number for number, rows in enumerate(self.wanted) if rows]


@dataclass(frozen=True)
class GivenUp:
    """Why a stratum stays short.

    Attributes:
        name: function / category / route / template / length / language.
        lacks: rows.
        requested: the last ones, all of them in vain.
        reasons: the commonest reasons of rejection, with their rows.
        examples: two rows: query, reason, detail.
    """

    name: str
    lacks: int
    requested: int
    reasons: list[tuple[str, int]] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)


def merge_receipt(run: Run) -> Receipt:
    """The receipt of the run's merge.

    Raises:
        InputError: the merge is not done.
    """
    receipt = read_receipt(run.stage_dir("merge"), 0)
    if receipt is None:
        raise InputError(
            "this run has no merged data set yet, so nothing tells what it lacks",
            file=run.path,
            found="its merge is not done",
            expected="a run whose merge is done; see `status`, and `retry` goes on with it",
        )
    return receipt


def look(run: Run) -> Need:
    """What the run's data set lacks, stratum by stratum, and the requests that would fill it.

    A stratum is judged by the newest round alone, because its queries may be used up: then later requests find
    duplicates only.

    Raises:
        InputError: the merge is not done, or this code makes other strata of the run's domain.
        CorruptShardError: a file differs from its receipt.
    """
    receipt, directory = merge_receipt(run), run.stage_dir("merge")
    for role in ("summary", "acceptance"):
        verify_file(receipt.path(directory, role), receipt, role)
    strata = _strata(run)
    wanted = [0] * len(strata)
    for row in read_json(receipt.path(directory, "summary"))["deficits"]:
        wanted[row["stratum"]] = row["quota"] - row["own"]
    measured = load_acceptance(directory / FILE)
    newest = measured.newest()
    hopeless = {}
    for number, rows in enumerate(wanted):
        if rows:
            last, whole = newest.rows[number], measured.rows[number]
            if last["requested"] >= HOPELESS_AFTER and not last["kept"]:
                hopeless[number] = int(last["requested"])
            elif whole["requested"] >= HOPELESS_AFTER and not whole["kept"]:
                hopeless[number] = int(whole["requested"])
    hope = [0 if number in hopeless else rows for number, rows in enumerate(wanted)]
    asked = requests(newest, strata, hope, run.config)
    limit = run.config.generate.oversample_limit
    limited = sum(rows > 0 and ask >= row.quota * limit for row, rows, ask in zip(strata, hope, asked, strict=True))
    return Need(strata, wanted, asked, hopeless, limited)


def _strata(run: Run) -> list[Stratum]:
    strata = build_strata(load_domain(run.domain_dir), run.config)
    different = same_strata(read_strata(run), strata)
    if different:
        raise InputError(
            "this version of the code makes other strata of the run's domain",
            file=run.path,
            found=different,
            expected=f"the code that made it (its snapshot is in {run.path / 'code'}), or a new run",
        )
    return strata


def topup_path(run: Run, data_only: bool = False) -> Path:
    """Where the next top-up of a run goes."""
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
    """The plan of a top-up.

    Args:
        run: what it builds on.
        need: from ``look``.
        path: its run directory, beside the run.
        stages: those that it shall have.
        shards: of generate; None: as many as the run's, and not more than there are chunks.

    Raises:
        InputError: there is nothing to ask for, or the run's snapshot of the domain is not what its plan was made for.
    """
    if not any(need.asked):
        raise InputError(
            "there is nothing to ask for", file=run.path, found="no stratum that is short and can be hoped for"
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
            found="another content than the plan's",
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


def _own_part(run: Run) -> Part:
    sample, generate = (run.plan.stages[stage] for stage in ("sample", "generate"))
    part = Part(run=run.path.name, sample=sample, generate=generate, rows=0)
    rows = sum(receipt.rows for receipt, _ in part_receipts(run, generate, f"generate of {run.path.name}"))
    return part.model_copy(update={"rows": rows})


def _part(part: Part, run: Run, path: Path) -> Part:
    """The part as seen from another run directory."""

    def moved(stage: StagePlan) -> StagePlan:
        return stage.model_copy(update={"dir": os.path.relpath(run.part_dir(stage), path)})

    return part.model_copy(update={"sample": moved(part.sample), "generate": moved(part.generate)})


def builds_on(topup: Run, run: Run) -> bool:
    """Whether a run is a top-up of this one."""
    base = topup.plan.base
    return (
        bool(base)
        and base[-1].generate.fingerprint == run.plan.stages["generate"].fingerprint
        and len(base) == len(run.plan.base) + 1
    )


def pilot_config(config: RunConfig, rows: int) -> RunConfig:
    """The config of a pilot: the same, but small, planned by ``generate.oversample``, and in few tasks.

    Raises:
        InputError: it would not be smaller than the run.
    """
    if rows >= config.dataset.size:
        raise InputError(
            "a pilot is smaller than its run",
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
    """The stages of a top-up: those of the run; a pilot's top-up ends with merge, too."""
    return tuple(stage for stage in STAGES if stage in run.plan.stages)


def given_up(run: Run, need: Need) -> Iterator[GivenUp]:
    """Each hopeless stratum with its commonest reasons of rejection and two examples."""
    if not need.hopeless:
        return
    files = [
        receipt.path(directory) for receipt, directory in part_receipts(run, run.plan.stages["generate"], "generate")
    ]
    for part in run.plan.base:
        files += [
            receipt.path(directory)
            for receipt, directory in part_receipts(run, part.generate, f"generate of {part.run}")
        ]
    rejected = sorted((run.stage_dir("merge") / "dataset").glob("rejected*.parquet"))
    for number, (reasons, examples) in rejections(files, rejected, need.hopeless).items():
        yield GivenUp(stratum_name(need.strata[number]), need.wanted[number], need.hopeless[number], reasons, examples)


def stratum_name(row: Stratum) -> str:
    """function / category / route / template / length / language, without saying the route twice."""
    return " / ".join((row.function, row.category, row.template, row.length, row.language))


def measured_of(run: Run) -> Acceptance:
    """The acceptance that a run's merge measured.

    Raises:
        InputError: the merge is not done.
    """
    merge_receipt(run)
    return load_acceptance(run.stage_dir("merge") / FILE)
