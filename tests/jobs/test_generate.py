"""The generate stage on the tiny domain: heuristic rows without an engine; all routes with the real small model."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

import jobs.generate
import jobs.sample
from jobs.generate import row_range
from jobs.plan import Plan, Run, StagePlan
from jobs.stages import STAGES
from jobs.task import Task, read_receipt
from routenator.errors import CorruptShardError, StageError
from routenator.files import write_atomic
from routenator.schemas import CANDIDATE_COLUMNS, arrow_schema
from tests.conftest import ROOT, TINY, make_config

HEURISTIC = {"heuristic": 1.0}
SMALL_MODELS = yaml.safe_load((ROOT / "configs" / "model" / "smollm2-135m.yaml").read_text())["model"]


def make_run(
    folder: Path, sample: int = 1, generate: int = 1, chunk_rows: int = 16, size: int = 80, **section: Any
) -> Run:
    """A sampled run with this many shards."""
    run_dir = folder / "run"
    run_dir.mkdir(parents=True)
    shutil.copytree(TINY, run_dir / "domain")
    counts = {"sample": sample, "generate": generate}
    plan = Plan(
        fingerprint="abcdef012345",
        created="2025-01-01T00:00:00Z",
        version="0.1.0",
        config=make_config(
            dataset={"size": size},
            sample={"shards": sample},
            generate={"shards": generate, "chunk_rows": chunk_rows, **section},
            cache=str(ROOT / ".cache"),
            model=SMALL_MODELS,
        ),
        domain_sha256="0" * 64,
        golden_sha256="1" * 64,
        stages={name: StagePlan(fingerprint="0" * 12, dir=f"../{name}", shards=counts.get(name, 1)) for name in STAGES},
    )
    write_atomic(run_dir / "plan.json", plan.model_dump_json())
    run = Run.load(run_dir)
    for index in range(sample):
        jobs.sample.run(Task(run, "sample", index))
    return run


def generate(run: Run) -> list[dict[str, Any]]:
    """All candidates of a run, in shard order."""
    rows: list[dict[str, Any]] = []
    for index in range(run.plan.stages["generate"].shards):
        task = Task(run, "generate", index)
        jobs.generate.run(task)
        receipt = read_receipt(task.dir, index)
        assert receipt is not None
        table = pq.read_table(receipt.path(task.dir))
        assert table.schema.equals(arrow_schema(CANDIDATE_COLUMNS)) and table.num_rows == receipt.rows
        rows.extend(table.to_pylist())
    return rows


@pytest.mark.parametrize("rows", [0, 1, 15, 16, 17, 100])
@pytest.mark.parametrize("shards", [1, 2, 3, 7, 40])
def test_row_ranges_cover_all_rows_in_whole_chunks(rows: int, shards: int) -> None:
    ranges = [row_range(rows, 16, shard, shards) for shard in range(shards)]
    assert [row for low, high in ranges for row in range(low, high)] == list(range(rows))
    assert all(low % 16 == 0 or low == rows for low, _ in ranges)


def test_row_ranges_are_even() -> None:
    sizes = [high - low for low, high in (row_range(16 * 50, 16, shard, 7) for shard in range(7))]
    assert max(sizes) - min(sizes) <= 16


@pytest.mark.slow
@pytest.mark.parametrize(("sample", "shards"), [(1, 1), (1, 3), (3, 1), (4, 3), (2, 30)])
def test_shard_counts_change_nothing(tmp_path: Path, sample: int, shards: int) -> None:
    reference = generate(make_run(tmp_path / "one", routes=HEURISTIC))
    rows = generate(make_run(tmp_path / "many", sample, shards, routes=HEURISTIC))
    assert rows == reference
    assert [row["index"] for row in rows] == list(range(len(rows)))


def test_heuristic_rows_say_their_draft_and_load_no_engine(tmp_path: Path) -> None:
    run = make_run(tmp_path, routes=HEURISTIC)
    code = f"""
import sys
import jobs.generate
from jobs.plan import Run
from jobs.task import Task
jobs.generate.run(Task(Run.load({str(run.path)!r}), "generate", 0))
assert "vllm" not in sys.modules and "torch" not in sys.modules, "an engine was loaded"
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    receipt = read_receipt(run.stage_dir("generate"), 0)
    assert receipt is not None
    rows = pq.read_table(receipt.path(run.stage_dir("generate"))).to_pylist()
    assert all(row["query"] == row["draft"] and row["raw"] is None and row["generator"] == "heuristic" for row in rows)
    numbers = receipt.metrics
    assert numbers["requested"] == numbers["generated"] == len(rows)
    assert numbers["accepted"] + sum(numbers["rejected"].values()) == len(rows)
    assert numbers["tokens"] == 0 and list(numbers["by_route"]) == ["heuristic"]


def test_every_rejected_row_is_kept_with_its_reason(tmp_path: Path) -> None:
    rows = generate(make_run(tmp_path, routes=HEURISTIC))
    rejected = [row for row in rows if not row["accepted"]]
    assert rejected, "the tiny domain has drafts outside their length bucket"
    assert all(row["reason"] and row["detail"] for row in rejected)
    assert all(row["reason"] is None for row in rows if row["accepted"])


def test_a_killed_task_resumes_with_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = generate(make_run(tmp_path / "whole", routes=HEURISTIC))
    run = make_run(tmp_path / "killed", routes=HEURISTIC)
    made: list[Path] = []
    write = jobs.generate.write_chunk

    def dies_at_the_third(path: Path, *rest: Any) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(path)
        write(path, *rest)

    monkeypatch.setattr(jobs.generate, "DRAFT_ROWS", 16)
    monkeypatch.setattr(jobs.generate, "write_chunk", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        generate(run)
    kept = {path: path.stat().st_mtime_ns for path in made}
    assert len(kept) == 2 and not Task(run, "generate", 0).is_done()

    def counted(path: Path, *rest: Any) -> None:
        assert path not in kept, "a finished chunk was generated again"
        write(path, *rest)

    monkeypatch.setattr(jobs.generate, "write_chunk", counted)
    assert generate(run) == reference
    assert not list(run.stage_dir("generate").glob("*.work")), "checkpoints are removed once the shard is committed"


def test_a_done_shard_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, routes=HEURISTIC)
    generate(run)
    monkeypatch.setattr(jobs.generate, "write_chunk", lambda *_: pytest.fail("made again"))
    generate(run)


def test_damaged_or_missing_input_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, routes=HEURISTIC)
    receipt = read_receipt(run.stage_dir("sample"), 0)
    assert receipt is not None
    path = receipt.path(run.stage_dir("sample"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CorruptShardError, match="sha256"):
        jobs.generate.run(Task(run, "generate", 0))
    (run.stage_dir("sample") / "shard-00000.receipt.json").unlink()
    with pytest.raises(StageError, match="sample shard 0 is not done"):
        jobs.generate.run(Task(run, "generate", 0))


@pytest.fixture(scope="module")
def all_routes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[dict[str, Any]]]:
    run = make_run(tmp_path_factory.mktemp("all"), sample=2, chunk_rows=32, size=52)
    return run, generate(run)


@pytest.mark.slow
def test_all_routes_with_the_real_model(all_routes: tuple[Run, list[dict[str, Any]]]) -> None:
    run, rows = all_routes
    assert {row["route"] for row in rows} == {"heuristic", "text", "vision"}
    receipt = read_receipt(run.stage_dir("generate"), 0)
    assert receipt is not None
    numbers = receipt.metrics
    assert numbers["tokens"] > 0 and numbers["prompt_tokens"] > numbers["tokens"] and numbers["tokens_per_second"] > 0
    for route, generator in (("text", "smollm2-135m-instruct"), ("vision", "described+smollm2-135m-instruct")):
        own = [row for row in rows if row["route"] == route]
        assert {row["generator"] for row in own} == {generator}
        assert all(row["raw"] for row in own) and all(row["completion_tokens"] > 0 for row in own)
        # A guided reply contains every slot; its length and the words around the slots may still be wrong.
        assert "ungrounded" not in {row["reason"] for row in own}
        assert numbers["by_route"][route]["accepted"] >= 0.6 * len(own)


@pytest.mark.slow
def test_an_interrupted_task_and_other_shards_say_the_same(
    tmp_path: Path, all_routes: tuple[Run, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, sample=1, generate=2, chunk_rows=32, size=52)
    write = jobs.generate.write_chunk
    units: list[str] = []

    def dies_once(path: Path, *rest: Any) -> None:
        units.append(path.name)
        if [name[:11] for name in units].count("text-vision") == 3 and len(set(units)) == len(units):
            raise KeyboardInterrupt
        write(path, *rest)

    monkeypatch.setattr(jobs.generate, "write_chunk", dies_once)
    with pytest.raises(KeyboardInterrupt):
        generate(run)
    # Shard 0 has one chunk, shard 1 two; a shard's heuristic rows are one unit, the engine's units come last, and the
    # last of all is lost.
    kinds = [name.rsplit("-", 1)[0] for name in units]
    assert kinds == ["heuristic", "text-vision", "heuristic", "text-vision", "text-vision"]
    assert generate(run) == all_routes[1]
