"""A run on the tiny domain for tests of the later stages: the real sample stage, and candidates made of its drafts."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import jobs.merge
import jobs.sample
from jobs.plan import Plan, Run, StagePlan
from jobs.stages import SECOND_ROUND, STAGES
from jobs.task import Task
from routenator.domain.loader import load_domain
from routenator.files import write_atomic
from routenator.sampling.strata import build_strata
from routenator.schemas import CANDIDATE_COLUMNS, DETAIL_COLUMNS, arrow_schema
from routenator.wording.composer import Composer
from tests.conftest import TINY, make_config

ONE_ROUND = tuple(stage for stage in STAGES if stage not in SECOND_ROUND)
Edit = Callable[[dict[str, Any]], dict[str, Any]]


def make_run(
    folder: Path, shards: int = 1, domain: Path = TINY, planned: Collection[str] = ONE_ROUND, **config: Any
) -> Run:
    """A run directory with a plan of some stages and a domain; ``shards`` for sample and generate."""
    run_dir = folder / "runs" / "test"
    run_dir.mkdir(parents=True)
    shutil.copytree(domain, run_dir / "domain")
    stages = {
        name: StagePlan(
            fingerprint=f"{number:012x}",
            dir=f"../stages/{name}-{number:012x}",
            shards=shards if name in ("sample", "generate") else 1,
        )
        for number, name in enumerate(stage for stage in STAGES if stage in planned)
    }
    plan = Plan(
        fingerprint="abcdef012345",
        created="2025-01-01T00:00:00Z",
        version="0.1.0",
        commit="1234567",
        config=make_config(
            sample={"shards": shards}, **{**config, "generate": {"shards": shards, **config.get("generate", {})}}
        ),
        domain_sha256="0" * 64,
        golden_sha256="1" * 64,
        stages=stages,
    )
    write_atomic(run_dir / "plan.json", plan.model_dump_json(indent=1))
    return Run.load(run_dir)


def sample(run: Run) -> list[dict[str, Any]]:
    """Run the sample stage; its requests with their words, by index."""
    import pyarrow.parquet as pq

    composer = Composer(load_domain(run.domain_dir), run.config, build_strata(load_domain(run.domain_dir), run.config))
    rows: list[dict[str, Any]] = []
    for index in range(run.plan.stages["sample"].shards):
        jobs.sample.run(Task(run, "sample", index))
    for path in Task(run, "generate", 0).input_files("sample"):
        rows.extend(composer.details(pq.read_table(path)).to_pylist())
    return sorted(rows, key=lambda row: row["index"])


def candidate(request: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An accepted candidate whose query is the request's draft."""
    made = {
        "query": request["draft"],
        "raw": None,
        "generator": "heuristic",
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "accepted": True,
        "reason": None,
        "detail": None,
    }
    return {**{name: request[name] for name in DETAIL_COLUMNS}, **made, **changes}


def generate(run: Run, rows: list[dict[str, Any]], metrics: dict[str, Any] | None = None) -> list[Path]:
    """Commit candidates like the generate stage, split evenly over its shards; return the files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shards = run.plan.stages["generate"].shards
    files = []
    for index in range(shards):
        task = Task(run, "generate", index)
        part = rows[len(rows) * index // shards : len(rows) * (index + 1) // shards]
        path = task.output(".parquet")
        pq.write_table(pa.Table.from_pylist(part, schema=arrow_schema(CANDIDATE_COLUMNS)), path)
        task.commit({"data": path}, rows=len(part), metrics=metrics or {})
        files.append(path)
    return files


def merge(run: Run) -> Path:
    """Run the merge stage and return its folder."""
    task = Task(run, "merge", 0)
    jobs.merge.run(task)
    run.publish("merge")
    return task.dir


def merged(folder: Path, edit: Edit = lambda row: row, shards: int = 1, **config: Any) -> Run:
    """A run up to and including the merge stage, with every candidate passed through ``edit``."""
    run = make_run(folder, shards, **config)
    generate(run, [edit(candidate(request)) for request in sample(run)])
    merge(run)
    return run
