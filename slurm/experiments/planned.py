"""Plans the runs of an experiment, one for each arm and seed, with the arm's domain.

Domains are copied or derived into ROOT/domains/, named by their content, before any run is planned. So all runs of one
command use the same domain even if the original changes meanwhile, and identical content is stored once.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import uuid
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from jobs.entry import read_failure
from jobs.plan import Plan, Run
from jobs.stages import STAGES, up_to
from jobs.task import missing_shards
from routenator.authoring.derive import derive as make_domain
from routenator.compose import write_config
from routenator.config import RunConfig
from routenator.domain.fingerprint import domain_fingerprint
from routenator.errors import InputError
from routenator.extras import EXTRAS, require
from routenator.files import check_contained, digest, read_json, sha256_file, sha256_tree, write_atomic
from routenator.trust import check_own, is_own, named_group
from slurm.experiments.child import MODULE, apart
from slurm.experiments.config import Arm, Experiment, run_config
from slurm.experiments.table import short_scores
from slurm.planning.planner import check_golden, code_folders, golden_source, make_plan, planned_run


@dataclass(frozen=True)
class Entry:
    """One run of an experiment.

    Attributes:
        overrides: overrides of the experiment's base; ``python launch.py run BASE OVERRIDES`` makes the same run.
        measures: measures shown in the summary.
        plan: the plan as it would be made now. Its stages' directories are named by what they depend on, so finished
            stages are found.
    """

    arm: str
    seed: int
    overrides: list[str]
    plan: Plan
    measures: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.arm}-{self.seed}"

    @property
    def run(self) -> Run:
        return planned_run(self.plan)

    def missing(self) -> dict[str, Path]:
        """Return the unfinished stages with their directories; ignores the report, which no result needs."""
        run = self.run
        return {
            stage: run.stage_dir(stage)
            for stage in self.plan.stages
            if stage != "report" and missing_shards(run, stage)
        }

    def command(self, folder: Path) -> list[str]:
        """Return the command that runs it."""
        config = folder / "configs" / f"{self.name}.yaml"
        write_atomic(config, write_config(self.plan.config))
        until = () if "evaluate" in self.plan.stages else ("--until", "merge")
        return [*MODULE, "slurm.commands.main", "run", str(config), *until]

    def failure(self) -> str | None:
        """Return the error of the task that failed."""
        run = self.run
        for stage in self.missing():
            for index in range(run.plan.stages[stage].shards):
                failure = read_failure(run, stage, index)
                if failure is not None:
                    return f"{stage}: {failure['kind']}: {failure['message'].splitlines()[0]}"
        return None

    def summary(self) -> str:
        """Describe its outcome in one line."""
        if "evaluate" not in self.plan.stages:
            counts = read_json(self.run.stage_dir("merge") / "merge.json")["counts"]
            return f"{counts['final']:,} rows"
        scores = read_json(self.run.stage_dir("evaluate") / "scores.json")["after"]
        return short_scores(scores, self.measures)


def entries_of(experiment: Experiment) -> list[Entry]:
    """Return all runs, seed by seed, so that an experiment that is stopped early has still compared all arms.

    Raises:
        InputError: a config, a domain or a golden file is invalid.
    """
    config, _ = run_config(experiment, None, {} if experiment.golden is None else {"golden": experiment.golden})
    domains = {}
    for name, arm in experiment.arms.items():
        own, _ = run_config(experiment, name, {"golden": config.golden})
        with tempfile.TemporaryDirectory() as scratch:
            source = _fitted(experiment, Path(own.domain), Path(scratch))
            domains[name] = arm_domain(experiment.name, name, arm, source, golden_source(own), Path(own.root))
    stages = up_to("merge") if experiment.kind == "distribution" else STAGES
    entries = []
    for seed in experiment.seeds:
        for name in experiment.arms:
            domain, golden = domains[name]
            given = {"name": f"{experiment.name}-{name}", "seed": seed, "domain": str(domain), "golden": str(golden)}
            composed, overrides = run_config(experiment, name, given)
            check_routes(experiment, name, composed)
            entries.append(
                Entry(name, seed, overrides, make_plan(composed, sys.argv, stages=stages), tuple(experiment.measures))
            )
    return entries


def check_fit(experiment: Experiment) -> None:
    """Check that the queries to fit statistics to are there, if the experiment needs any.

    Raises:
        InputError: they are not.
    """
    if experiment.fit is not None and not Path(experiment.fit).is_file():
        raise InputError(
            "the file to fit statistics to is missing", key="fit", found=experiment.fit,
            expected="queries with their calls, as `golden import` and `golden split` write them",
        )  # fmt: skip


def _fitted(experiment: Experiment, source: Path, scratch: Path) -> Path:
    """The domain with statistics fitted to the experiment's queries, below ``scratch``; itself if there are none."""
    if experiment.fit is None:
        return source
    check_fit(experiment)
    check_contained(source)
    queries = Path(experiment.fit)
    made = scratch / source.resolve().name
    shutil.copytree(source, made, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    arguments = ["domain", "fit", source.resolve(), queries.resolve(), "--out", made / "statistics.yaml"]
    apart("domain fit", "slurm.commands.main", arguments, queries)
    return made


def work_folder(experiment: Experiment, root: str) -> Path:
    """Return the folder of an experiment's logs, configs and code snapshot."""
    return Path(root).expanduser().resolve() / "experiments" / experiment.name


def check_routes(experiment: Experiment, arm: str, config: RunConfig) -> None:
    """Check that an arm's settings do not override the routes of its derived domain.

    Raises:
        InputError: they do.
    """
    derive = experiment.arms[arm].derive
    if derive is not None and derive.routes is not None and config.generate.routes is not None:
        raise InputError(
            "a setting of the run overrides the routes of its derived domain",
            key=f"arms.{arm}.derive.routes",
            found=f"generate.routes: {config.generate.routes}",
            expected="generate.routes: null in this arm's set",
        )


def arm_domain(experiment: str, name: str, arm: Arm, source: Path, golden: Path, root: Path) -> tuple[Path, Path]:
    """Return the domain and the golden file of an arm, creating them unless they exist.

    Args:
        name: the arm's name.
        source: the base's domain.
        golden: the golden file for the base's API.
        root: folder of the runs.

    Raises:
        InputError: the domain cannot be derived this way, or was changed after it was made.
    """
    check_golden(golden)
    folder = root.expanduser().resolve() / "domains"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{experiment}-{name}" if arm.init or arm.derive is not None else source.name
    record = None
    if arm.derive is not None:
        inputs = [_library(), sha256_tree(source), sha256_file(golden), arm.derive.model_dump(mode="json")]
        record = folder / f".derived-{digest(inputs)}"
        place = folder / f"{stem}-{_recorded(record)}"
        if place.is_dir():
            _check_unchanged(place, _recorded(record), name)
            return place, place / "golden.jsonl"
    made = folder / f".{uuid.uuid4().hex[:12]}"
    try:
        if arm.derive is None:
            source = _described(source, folder) if arm.init else source
            check_contained(source)
            shutil.copytree(source, made, ignore=shutil.ignore_patterns(".*", "__pycache__"))
            shutil.copyfile(golden, made / "golden.jsonl")
        else:
            make_domain(source, made, arm.derive.model_copy(update={"golden": golden}))
        content = _content(made)
        place = folder / f"{stem}-{content}"
        if not place.is_dir():
            _rename(made, place)
        else:
            _check_unchanged(place, content, name)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    if record is not None:
        write_atomic(record, content)
        record.chmod(0o644)  # only its owner may say what a domain should be
    return place, place / "golden.jsonl"


def _recorded(record: Path) -> str:
    """Return the hash of the domain that was derived from these inputs before; empty if there is none that we trust.

    Deriving takes seconds for each arm, and an experiment plans all arms each time it is called.
    """
    return record.read_text() if record.is_file() and is_own(record) else ""


def _check_unchanged(place: Path, content: str, arm: str) -> None:
    """Check that a domain still has the content that it was named by."""
    if _content(place) != content:
        raise InputError(
            "this domain was changed after it was made",
            file=place,
            expected=f"what the arm {arm} is made of; remove this folder, and it is made again",
        )


def _library() -> str:
    """Hash the code that makes domains; all of the library, as ``derive`` and ``domain init`` draw on most of it."""
    return sha256_tree(code_folders()["routenator"])


def _content(domain: Path) -> str:
    """Hash a domain and its golden file, without the notes, which may name folders."""
    return digest([domain_fingerprint(domain), sha256_file(domain / "golden.jsonl")])


def _described(source: Path, folder: Path) -> Path:
    """Return what ``domain init`` makes of a domain's functions and statistics; made once for each version of it.

    Raises:
        InputError: it cannot be made of them, or it was made before and somebody else could have changed it.
        MissingPackageError: a package that ``domain init`` needs is missing.
    """
    require("door", "an arm with init")
    # Other versions of the packages write other values.
    made_by = [_library(), *(version(name) for name in EXTRAS["door"].values())]
    parts = [source / "functions.json", source / "statistics.yaml"]
    place = folder / f".init-{digest([*made_by, *(sha256_file(part) for part in parts if part.is_file())])}"
    if not place.is_dir():
        made = folder / f".{uuid.uuid4().hex[:12]}"
        arguments = ["domain", "init", source / "functions.json", made, "--statistics", source / "statistics.yaml"]
        try:
            apart("domain init", "slurm.commands.main", arguments, source)
            (made / "run.yaml").unlink()
            _rename(made, place)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    check_own(place, "this domain made by domain init", named_group())
    return place


def _rename(made: Path, place: Path) -> None:
    """Give a folder its final name, unless another command has created the same meanwhile."""
    try:
        made.rename(place)
    except OSError:
        if not place.is_dir():
            raise
