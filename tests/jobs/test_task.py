"""A shard is done if and only if its receipt exists; of two attempts, one wins as a whole."""

from __future__ import annotations

import json
import multiprocessing
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from jobs.plan import Plan, Run
from jobs.task import Task, done_shards, read_receipt, receipt_path, shard_files, shard_name, verify_file
from routenator.errors import CorruptShardError, InputError, StageError
from routenator.files import sha256_file, write_atomic, write_json
from tests.jobs.race import race, write
from tests.jobs.world import ONE_ROUND, make_run


def test_commit_makes_a_receipt_that_says_what_is_there(tmp_path: Path) -> None:
    task = Task(make_run(tmp_path, 3), "generate", 2, attempt=4, job="17_2")
    path = write(task)
    assert not task.is_done()
    assert task.commit({"data": path}, rows=5, metrics={"tokens": 7})
    assert task.is_done()
    receipt = read_receipt(task.dir, 2)
    assert receipt is not None
    assert (receipt.stage, receipt.shard, receipt.rows, receipt.attempt, receipt.job) == ("generate", 2, 5, 4, "17_2")
    assert receipt.metrics == {"tokens": 7}
    assert receipt.files["data"] == {"name": path.name, "sha256": sha256_file(path), "bytes": 4}
    assert receipt.path(task.dir) == path
    assert 0 <= receipt.seconds < 60
    assert {entry.name for entry in task.dir.iterdir()} == {path.name, receipt_path(task.dir, 2).name}


def test_the_second_attempt_to_commit_loses_and_removes_its_file(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    first, second = Task(run, "generate", 0), Task(run, "generate", 0, attempt=2)
    files = [write(first, "first"), write(second, "second")]
    shared = first.dir / "shared.json"
    shared.write_text("both")
    assert first.commit({"data": files[0], "summary": shared}, rows=1)
    assert not second.commit({"data": files[1], "summary": shared}, rows=2)
    assert files[0].read_text() == "first"
    assert not files[1].exists()
    assert shared.exists()  # a name that both share belongs to the winner
    receipt = read_receipt(first.dir, 0)
    assert receipt is not None
    assert (receipt.rows, receipt.attempt) == (1, 1)


def test_an_attempt_whose_files_the_winner_has_swept_loses_without_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The winner is a later attempt, and commits between this one's receipt and its link."""
    run = make_run(tmp_path)
    first, second = Task(run, "generate", 0), Task(run, "generate", 0, attempt=2)
    files = [write(first, "first"), write(second, "second")]

    def write_and_be_overtaken(path: Path, value: Any) -> None:
        monkeypatch.undo()
        write_json(path, value)
        assert second.commit({"data": files[1]}, rows=2)
        assert not path.exists() and not files[0].exists()

    monkeypatch.setattr("jobs.task.write_json", write_and_be_overtaken)
    assert not first.commit({"data": files[0]}, rows=1)
    receipt = read_receipt(first.dir, 0)
    assert receipt is not None and receipt.rows == 2
    assert {entry.name for entry in first.dir.iterdir()} == {files[1].name, receipt_path(first.dir, 0).name}


def test_an_attempt_whose_files_were_swept_before_its_commit_has_lost(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    first, second = Task(run, "generate", 0), Task(run, "generate", 0, attempt=2)
    gone, kept = write(first), write(second)
    with pytest.raises(FileNotFoundError):
        first.commit({"data": gone.with_name("never-written")}, rows=1)
    assert not first.is_done()
    assert second.commit({"data": kept}, rows=2)
    assert not gone.exists()
    assert not first.commit({"data": gone}, rows=1)


def test_two_attempts_may_sweep_at_once(tmp_path: Path) -> None:
    """A file that the other attempt removes first is not an error; links, checkpoints and other shards' files stay."""
    run = make_run(tmp_path, 2)
    task, other = Task(run, "generate", 0), Task(run, "generate", 1)
    swept, kept, foreign = write(task), write(task, suffix=".kept"), write(other)
    (task.work_dir / "checkpoint").write_text("3")
    link = task.output(".link")
    link.symlink_to(foreign)

    def unwanted(name: str) -> bool:
        (task.dir / name).unlink() if name == swept.name else None
        return name != kept.name

    task._sweep(unwanted)
    assert sorted(task.dir.iterdir()) == sorted([kept, link, task.work_dir, foreign])


def test_a_failed_attempt_removes_its_own_files_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path, 2)
    first, second = Task(run, "generate", 0), Task(run, "generate", 0)
    gone, kept = write(first), write(second)
    hidden = first.dir / f".{gone.name}"
    hidden.write_text("half")
    first.discard()
    assert not gone.exists() and not hidden.exists() and kept.exists()


def test_of_several_processes_at_once_one_wins_whole(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    context = multiprocessing.get_context("spawn")  # this process has threads, and must not be forked
    results, barrier = context.Queue(), context.Barrier(4)
    processes = [
        context.Process(target=race, args=(str(run.path), attempt, barrier, results)) for attempt in range(1, 5)
    ]
    for process in processes:
        process.start()
    outcomes = [results.get(timeout=180) for _ in processes]
    for process in processes:
        process.join(timeout=180)
    winners = [attempt for attempt, won in outcomes if won]
    assert len(winners) == 1
    task = Task(run, "merge", 0)
    (path,) = task.input_files("generate")
    assert path.read_text() == f"attempt {winners[0]} " * 1000
    assert len(list(path.parent.glob("*.txt"))) == 1


def test_a_file_without_receipt_is_not_done(tmp_path: Path) -> None:
    run = make_run(tmp_path, 12)
    for index in (0, 3, 11):
        task = Task(run, "generate", index)
        task.commit({"data": write(task)}, rows=1)
    half = Task(run, "generate", 5)
    write(half)
    half.progress(1, 9)
    assert done_shards(half.dir, 12) == {0, 3, 11}
    assert done_shards(half.dir, 3) == {0}
    assert done_shards(half.dir, 4) == {0, 3}  # a receipt left by an older, larger plan does not count
    assert done_shards(tmp_path / "nowhere", 4) == set()
    assert read_receipt(half.dir, 5) is None
    receipt_path(half.dir, 54321).touch()
    assert done_shards(half.dir, 99_999) == {0, 3, 11, 54321}


def test_the_json_files_of_shards_are_told_from_all_else(tmp_path: Path) -> None:
    """A name like a shard's but without a number, another kind of file, and a file of no shard."""
    for name in ("shard-00003.receipt.json", "shard-7.progress.json", "shard-00003.1f3c9a7e.summary.json"):
        (tmp_path / name).touch()
    for name in ("shard-copy.receipt.json", "shard-00004.parquet", "shard-5", "merge-6.receipt.json", "shard-.json"):
        (tmp_path / name).touch()
    assert sorted((index, suffix) for index, suffix, _ in shard_files(tmp_path)) == [
        (3, ".1f3c9a7e.summary.json"),
        (3, ".receipt.json"),
        (7, ".progress.json"),
    ]
    assert list(shard_files(tmp_path / "nowhere")) == []


def test_a_receipt_tells_where_and_how_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.task.time.time", lambda: 1_700_000_000.0)
    run = make_run(tmp_path, 2)
    for index, node in enumerate(("n7", "")):
        monkeypatch.setenv("SLURMD_NODENAME", node)
        task = Task(run, "generate", index, started=1_700_000_000.0 - 12.3456)
        task.commit({"data": write(task)}, rows=1)
        receipt = read_receipt(task.dir, index)
        assert receipt is not None and receipt.host == (node or socket.gethostname())
        assert (receipt.seconds, receipt.attempt, receipt.metrics) == (12.346, 1, {})
        assert receipt.tokens == 0


def test_files_of_an_attempt_are_told_from_those_of_another(tmp_path: Path) -> None:
    run = make_run(tmp_path, 43)
    names = [Task(run, "generate", 42).output(".parquet").name for _ in range(2)]
    assert names[0] != names[1]
    assert all(re.fullmatch(r"shard-00042\.[0-9a-f]{8}\.parquet", name) for name in names)


@pytest.mark.parametrize(("attempt", "left"), [(1, True), (2, False)])
def test_a_second_attempt_sweeps_what_killed_ones_left(tmp_path: Path, attempt: int, left: bool) -> None:
    """A first attempt sweeps nothing: other files belong to another attempt that is running."""
    run = make_run(tmp_path, 2)
    killed, other, task = Task(run, "generate", 0), Task(run, "generate", 1), Task(run, "generate", 0, attempt)
    files = [write(killed), write(other), write(task)]
    folder = task.output(".files")
    folder.mkdir()
    (folder / "x").write_text("x")
    task.commit({"data": files[2], "more": folder / "x"}, rows=1)
    assert [file.exists() for file in files] == [left, True, True]
    assert (folder / "x").exists()


def test_input_files_are_in_shard_order(tmp_path: Path) -> None:
    run = make_run(tmp_path, 11)
    for index in reversed(range(11)):
        task = Task(run, "generate", index)
        task.commit({"data": write(task, str(index))}, rows=1)
    files = Task(run, "merge", 0).input_files("generate")
    assert [path.read_text() for path in files] == [str(index) for index in range(11)]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("cut", "has 3 bytes, but its receipt says 4"),
        ("flip", "differs from its receipt's sha256"),
        ("gone", "is missing"),
    ],
)
def test_damage_is_found_and_named(tmp_path: Path, damage: str, says: str) -> None:
    run = make_run(tmp_path, 2)
    for index in range(2):
        task = Task(run, "generate", index)
        path = write(task)
        task.commit({"data": path}, rows=1)
    if damage == "gone":
        path.unlink()
    else:
        path.write_text("dat" if damage == "cut" else "dada")
    with pytest.raises(CorruptShardError, match=f"generate shard 1 .*{says}.*retry"):
        Task(run, "merge", 0).input_files("generate")
    if damage != "gone":
        assert Task(run, "merge", 0).input_files("generate", verify=False)[1] == path


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path, 2)
    task = Task(run, "generate", 0)
    task.commit({"data": write(task)}, rows=1)
    with pytest.raises(StageError, match="generate shard 1 is not done"):
        Task(run, "merge", 0).input_files("generate")


def test_verify_file_accepts_what_was_committed(tmp_path: Path) -> None:
    task = Task(make_run(tmp_path), "generate", 0)
    path = write(task)
    task.commit({"data": path}, rows=1)
    receipt = read_receipt(task.dir, 0)
    assert receipt is not None
    verify_file(path, receipt)
    with pytest.raises(KeyError):
        verify_file(path, receipt, "other")


def test_progress_is_written_sparsely_and_ends_with_the_commit(tmp_path: Path) -> None:
    task = Task(make_run(tmp_path), "generate", 0)
    path = task.dir / "shard-00000.progress.json"
    task.progress(1, 10, unit="tokens", speed=2.5)
    first = json.loads(path.read_text())
    assert (first["done"], first["total"], first["unit"], first["speed"]) == (1, 10, "tokens", 2.5)
    task.progress(2, 10)  # within a second of the first
    assert json.loads(path.read_text())["done"] == 1
    task.progress(3, 10, doing="loading the engine")  # something else begins
    assert json.loads(path.read_text())["doing"] == "loading the engine"
    task.progress(4, 10, doing="loading the engine")
    assert json.loads(path.read_text())["done"] == 3
    task.progress(5, 10)
    assert "doing" not in json.loads(path.read_text())
    task.progress(10, 10)  # the last one is always written
    assert json.loads(path.read_text())["done"] == 10
    task.commit({"data": write(task)}, rows=1)
    assert not path.exists()


def test_progress_is_written_once_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_700_000_000.0]
    monkeypatch.setattr("jobs.task.time.time", lambda: clock[0])
    task = Task(make_run(tmp_path), "generate", 0)
    written = []
    for done, now in enumerate((0.0, 0.99, 1.0, 1.5, 1.99, 2.0)):
        clock[0] = 1_700_000_000.0 + now
        task.progress(done, 9)
        value = json.loads((task.dir / "shard-00000.progress.json").read_text())
        written.append(value["done"])
        assert value["unit"] == "rows" and value["started"] == task.started
    assert written == [0, 0, 2, 2, 2, 5]


def test_work_dir_survives_an_attempt(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (Task(run, "train", 0).work_dir / "checkpoint").write_text("3")
    assert (Task(run, "train", 0, attempt=2).work_dir / "checkpoint").read_text() == "3"


def test_shard_names_sort_as_numbers() -> None:
    names = [shard_name(index) for index in (0, 9, 10, 99_999)]
    assert names == sorted(names)


def test_publish_links_relative_and_repeats(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    write_atomic(run.stage_dir("merge") / "dataset" / "x", "1")
    for _ in range(2):
        run.publish("merge")
    link = run.path / "dataset"
    assert link.readlink() == Path("../stages/merge-000000000002/dataset")
    assert (link / "x").read_text() == "1"
    (tmp_path / "runs").rename(tmp_path / "moved")  # the whole store can be moved
    assert (tmp_path / "moved" / "test" / "dataset" / "x").read_text() == "1"


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    run = make_run(tmp_path, 3)
    assert Run.load(run.path).plan == run.plan
    assert set(run.plan.stages) == set(ONE_ROUND)
    assert Plan.model_validate_json((run.path / "plan.json").read_text()) == run.plan


def test_no_run_there_names_the_nearest(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(InputError) as caught:
        Run.load(run.path.parent / "tets")
    assert caught.value.nearest == "test"


def test_another_format_of_plan_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    plan = json.loads((run.path / "plan.json").read_text())
    write_atomic(run.path / "plan.json", json.dumps({**plan, "format": 99}))
    with pytest.raises(InputError, match="another format"):
        Run.load(run.path)
