"""The plan of a run, as written to RUN/plan.json: read by every task and never changed.

``slurm.planning.planner`` makes it; it lives here because tasks read it and ``jobs`` must not import ``slurm``.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobs.stages import STAGES
from routenator.config import RunConfig
from routenator.errors import InputError, value_kind
from routenator.files import NO_LINKS, nearest_folder, read_text
from routenator.trust import check_own, trusted_group

PLAN_FORMAT = 1


class StagePlan(BaseModel):
    """A stage of a plan: its output directory and number of shards."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fingerprint: str  # 12 hex digits of the hash of all that its output depends on
    dir: str  # relative to the run directory: ../stages/STAGE-FINGERPRINT
    shards: int


class Part(BaseModel):
    """The finished stages of an earlier run whose candidates a top-up's merge reads in place."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str  # the run directory's name, for people
    sample: StagePlan
    generate: StagePlan
    refill: StagePlan | None = None  # its second round, if it had one
    rows: int  # of all shards together

    @property
    def candidates(self) -> list[StagePlan]:
        """The stages that made candidates, in the order of their indices."""
        return [self.generate, *([self.refill] if self.refill is not None else [])]


class Measured(BaseModel):
    """The measured acceptance that the plan is based on; RUN/acceptance.json is a copy of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str  # where it was read from
    sha256: str


class Plan(BaseModel):
    """A resolved run: config, stages, fingerprints, and the snapshots of domain and code that it uses."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    format: int = PLAN_FORMAT
    fingerprint: str
    created: str  # ISO 8601, UTC
    version: str  # of RouteNator
    commit: str | None = None  # of the checkout, "-dirty" appended if changed
    command: list[str] = []
    config: RunConfig
    domain_sha256: str
    golden_sha256: str
    stages: dict[str, StagePlan]  # those that the run has; a pilot ends with merge
    # Hash of what acceptance depends on: runs that share it can plan from each other's. On disk it is called likeness.
    acceptance_key: str = Field("", alias="likeness")
    acceptance: Measured | None = None
    requested: list[int] | None = None  # rows to sample of each stratum; None: by generate.oversample
    base: list[Part] = []  # of a top-up: what was made before, oldest first

    @property
    def first(self) -> int:
        """Index of the first request of this plan, after those of the runs it builds on."""
        return sum(part.rows for part in self.base)


@dataclass(frozen=True)
class Run:
    """A run directory and its plan.

    RUN/plan.json     the plan            RUN/config.yaml   the resolved config, which can be run again unchanged
    RUN/code/         snapshot of routenator/, jobs/, slurm/     RUN/domain/  snapshot of the domain, with golden.jsonl
    RUN/acceptance.json  snapshot of the measured acceptance that the requests are based on, if any
    RUN/logs/STAGE/   logs of every attempt                      RUN/submissions.jsonl   the submitted jobs
    RUN/dataset, adapter, scores.json, predictions.jsonl, report: links to the stages' outputs once they are done
    """

    path: Path
    plan: Plan

    @property
    def config(self) -> RunConfig:
        return self.plan.config

    @property
    def domain_dir(self) -> Path:
        return self.path / "domain"

    @property
    def golden_file(self) -> Path:
        return self.path / "domain" / "golden.jsonl"

    def stage_dir(self, stage: str) -> Path:
        """Return the absolute path of a stage's directory."""
        return self.part_dir(self.plan.stages[stage])

    def log_dir(self, stage: str) -> Path:
        return self.path / "logs" / stage

    def part_dir(self, stage: StagePlan) -> Path:
        """Return the absolute path of a stage of an earlier run that this one builds on."""
        return Path(os.path.normpath(self.path / stage.dir))

    @staticmethod
    def load(path: str | Path) -> Run:
        """Read RUN/plan.json.

        Raises:
            InputError: there is no such run, or its plan has another format.
        """
        run = Path(path).resolve()
        file = run / "plan.json"
        if not file.is_file():
            known = [p.parent.name for p in run.parent.glob("*/plan.json")] if run.parent.is_dir() else []
            known += [name.rpartition("-")[0] for name in known]  # a config's name means its newest run
            raise InputError(
                "not a run directory", file=path, found=run.name, expected="a folder with a plan.json", valid=known
            )
        try:
            raw = json.loads(read_text(file, "a plan as written"))
        except json.JSONDecodeError as error:
            raise InputError(
                "this plan cannot be read", file=file, key=f"line {error.lineno}", found=error.msg, expected="JSON"
            ) from None
        found = raw.get("format") if isinstance(raw, dict) else value_kind(raw)
        if found != PLAN_FORMAT:
            raise InputError(
                "this plan has another format", file=file, key="format", found=found, expected=str(PLAN_FORMAT)
            )
        try:
            return Run(run, Plan.model_validate(raw))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise InputError(
                "this plan cannot be read", file=file, key=key, found=first["msg"], expected="a plan as written"
            ) from None

    def check_own(self) -> None:
        """Check that nobody else could have written this run or the stages that it uses, before anything acts on them.

        The run may be planned only; then the stages that exist are checked.

        In a run that a group shares, what this process writes from now on is the group's too.

        Raises:
            TrustError: somebody else could have.
        """
        group = trusted_group(nearest_folder(self.path)) if self.config.shared_group else None
        if self.path.exists():
            check_own(self.path, "this run", group)
        parts = [part for base in self.plan.base for part in (base.sample, *base.candidates)]
        for part in (*self.plan.stages.values(), *parts):
            if os.path.lexists(folder := self.part_dir(part)):
                check_own(folder, "the store of a stage", group)
        if group is not None:
            os.umask(0o007)

    def check_store(self) -> None:
        """Check that the outputs of finished stages are where the plan says.

        Raises:
            InputError: the run was moved without its stages, or they were removed.
        """
        for stage, declared in STAGES.items():
            for name in declared.published:
                link = self.path / name
                if link.is_symlink() and not link.exists():
                    raise InputError(
                        f"the output of {stage} is not where the plan says",
                        file=self.stage_dir(stage),
                        found="nothing",
                        expected="the folder of stages beside the run, moved together with it; "
                        "`run` recreates removed stages",
                    )

    def publish(self, stage: str) -> None:
        """Link a finished stage's outputs into the run directory by relative links. Safe to repeat and to race."""
        for name, inside in STAGES[stage].published.items():
            target = os.path.join(self.plan.stages[stage].dir, inside)
            link = self.path / name
            if link.is_symlink() and str(link.readlink()) == target:
                continue
            temporary = self.path / f".{name}.{os.getpid()}"
            temporary.unlink(missing_ok=True)
            try:
                temporary.symlink_to(target)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                return  # a file system without links; `run` has said so
            os.replace(temporary, link)
