"""Status from files alone; tests/cluster tests it with a queue."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from jobs.entry import write_failure
from jobs.plan import Run
from jobs.task import Task, read_receipt
from routenator.files import write_json
from routenator.report.summary import stage_row
from slurm.local.driver import driver_file, read_driver
from slurm.submission.answers import QueueEntry
from slurm.submission.queue import QueueView
from slurm.submission.submissions import Submission, append_submission, attempt_log
from slurm.watching.logs import select_logs, tail
from slurm.watching.run_status import RunStatus, StageStatus
from slurm.watching.status import MAX_FAILURES, StatusReader
from slurm.watching.status_view import duration, plain_line, print_status


def commit(
    run: Run, stage: str, index: int, rows: int = 10, seconds: float = 5.0, metrics: dict[str, Any] | None = None
) -> None:
    task = Task(run, stage, index)
    task.started = time.time() - seconds
    path = task.output(".txt")
    path.write_text("x")
    task.commit({"data": path}, rows=rows, metrics=metrics)


class Queue(dict[str, QueueEntry]):
    """A queue view by task id; test_queue.py parses the output of the real one."""

    def status(self, run: Run) -> RunStatus:
        return StatusReader(run, self.view).read()

    def view(self, submissions: Sequence[Submission]) -> QueueView:
        return QueueView({(task, ""): entry for task, entry in self.items()}, True)


@pytest.fixture
def queue() -> Queue:
    return Queue()


def shown(status: RunStatus) -> str:
    out = StringIO()
    print_status(Console(file=out, width=120), status)
    return out.getvalue()


def test_a_run_that_was_never_submitted(make_run: Callable[..., Run]) -> None:
    status = StatusReader(make_run()).read()
    assert status.state == "incomplete" and {stage.state for stage in status.stages} == {"missing"}
    assert json.loads(json.dumps(status.as_dict()))["stages"][1]["missing"] == 3


def test_reused_stages_are_distinguished_from_new_ones(make_run: Callable[..., Run]) -> None:
    run = make_run()
    for index in range(2):
        commit(run, "sample", index)
    status = StatusReader(run).read()
    assert status.stage("sample").reused and status.stage("sample").rows == 20
    assert "reused" in shown(status)
    append_submission(run, Submission("local", "sample", "1", "0-1"))
    assert not StatusReader(run).read().stage("sample").reused


def test_every_state_of_a_shard(make_run: Callable[..., Run], queue: Queue) -> None:
    run = make_run(cluster={"kind": "slurm"}, generate__shards=9)
    old = time.time() - 100
    append_submission(run, Submission("slurm", "generate", "5", "0-7", array=True, time=old))
    commit(run, "generate", 0)
    queue["5_1"] = QueueEntry("RUNNING", nodes="n1")
    queue["5_2"] = QueueEntry("PENDING", "Priority")
    queue["5_3"] = QueueEntry("OUT_OF_MEMORY", "signal 9", "n2")
    queue["5_4"] = QueueEntry("CANCELLED")
    write_failure(run, "generate", 5, kind="ValueError", message="no\nmore", attempt=1, job="5_5")
    queue["5_5"] = QueueEntry("FAILED", "exit 1", "n2")
    queue["5_6"] = QueueEntry("PENDING", "DependencyNeverSatisfied")
    status = queue.status(run)
    stage = status.stage("generate")
    counts = {name: getattr(stage, name) for name in ("done", "running", "pending", "failed", "cancelled", "missing")}
    assert counts == {"done": 1, "running": 1, "pending": 1, "failed": 2, "cancelled": 2, "missing": 1}
    assert stage.unknown == 1, "the queue lacks it, once"
    assert {failure.shard: failure.reason for failure in stage.failures} == {
        3: "OUT_OF_MEMORY (signal 9) on n2",
        5: "ValueError: no\nmore",
    }
    assert stage.reasons["Priority"] == 1 and status.state == "running"
    text = shown(status)
    assert "OUT_OF_MEMORY" in text and "generate shard 5 failed (job 5_5, attempt 1" in text and "exit 1" in text
    assert "generate: 1 waiting: jobs with higher priority are ahead (Priority)" in text
    assert stage.running_shards == [1] and sum(stage.failure_reasons.values()) == 2


def test_a_task_that_just_ended_may_have_a_receipt_that_is_not_seen_yet(
    make_run: Callable[..., Run], queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(cluster={"kind": "slurm"})
    append_submission(run, Submission("slurm", "merge", "5", "0"))
    queue["5"] = QueueEntry("COMPLETED", end=time.time() - 200)
    reader = StatusReader(run, queue.view)
    assert reader.read().stage("merge").state == "unknown"
    monkeypatch.setattr("slurm.watching.shard_state._RECEIPT_S", 0.0)
    assert reader.read().stage("merge").failures[0].reason == "COMPLETED without a receipt"


def test_the_next_expected_start_is_told(make_run: Callable[..., Run], queue: Queue) -> None:
    run = make_run(cluster={"kind": "slurm"})
    append_submission(run, Submission("slurm", "generate", "5", "0-2", array=True))
    now = time.time()
    for index, away in enumerate((500, 90, 700)):
        queue[f"5_{index}"] = QueueEntry("PENDING", "Resources", start=now + away)
    status = queue.status(run)
    assert status.stage("generate").starts == pytest.approx(now + 90)
    text = shown(status)
    assert "Slurm expects the next start in 1m" in text and "3 waiting: waits for free nodes (Resources)" in text


def test_an_old_failure_does_not_speak_for_a_new_attempt(make_run: Callable[..., Run], queue: Queue) -> None:
    run = make_run(cluster={"kind": "slurm"})
    write_failure(run, "merge", 0, kind="ValueError", message="old", attempt=1, job="1")
    append_submission(run, Submission("slurm", "merge", "2", "0"))
    assert queue.status(run).stage("merge").state == "unknown"
    queue["2"] = QueueEntry("RUNNING")
    assert queue.status(run).stage("merge").running == 1


def test_many_failures_are_all_counted_but_not_all_shown(
    make_run: Callable[..., Run], queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slurm.submission.queue.SECOND_LOOK_S", 0.0)
    run = make_run(cluster={"kind": "slurm"}, generate__shards=50)
    append_submission(run, Submission("slurm", "generate", "5", "0-49", array=True, time=time.time() - 100))
    status = queue.status(run)
    assert status.stage("generate").failed == 50 and len(status.stage("generate").failures) == MAX_FAILURES
    assert "30 more failed shards" in shown(status)


def test_progress_gives_rate_and_eta(make_run: Callable[..., Run], queue: Queue) -> None:
    run = make_run(cluster={"kind": "slurm"})
    append_submission(run, Submission("slurm", "generate", "5", "0-2", array=True))
    commit(run, "generate", 0, rows=100)
    queue["5_1"] = QueueEntry("RUNNING")
    queue["5_2"] = QueueEntry("PENDING", "Resources")
    now = time.time()
    path = run.stage_dir("generate") / "shard-00001.progress.json"
    path.write_text(json.dumps({"done": 50, "total": 100, "unit": "rows", "time": now, "started": now - 10}))
    stage = queue.status(run).stage("generate")
    assert stage.fraction == pytest.approx(0.5) and stage.rate == pytest.approx(5.0) and stage.rows == 150
    # Half a shard took 10 s with one running task; one and a half are left.
    assert stage.eta_s == pytest.approx(30.0)
    assert "ETA 30s" in plain_line(stage) and "5.0 rows/s" in plain_line(stage)


def test_receipts_are_read_once(make_run: Callable[..., Run]) -> None:
    run = make_run()
    commit(run, "sample", 0)
    reader = StatusReader(run)
    assert reader.read().stage("sample").rows == 10
    receipt = run.stage_dir("sample") / "shard-00000.receipt.json"
    receipt.write_text("not read again")
    assert reader.read().stage("sample").rows == 10
    fresh = StatusReader(run).read().stage("sample")
    assert fresh.done == 1 and fresh.rows == 0 and fresh.unreadable == [str(receipt)]
    receipt.unlink()
    assert reader.read().stage("sample").rows == 0
    commit(run, "sample", 0, rows=7)
    assert reader.read().stage("sample").rows == 7


def test_the_rate_is_that_of_the_last_minute_once_two_looks_can_be_compared(
    make_run: Callable[..., Run], queue: Queue
) -> None:
    run = make_run(cluster={"kind": "slurm"})
    append_submission(run, Submission("slurm", "generate", "5", "0-2", array=True))
    queue["5_1"] = QueueEntry("RUNNING")
    reader = StatusReader(run, queue.view)
    path = run.stage_dir("generate") / "shard-00001.progress.json"

    def look(done: int, at: float) -> float | None:
        value = {"done": done, "total": 100, "unit": "rows", "time": at, "started": 1000.0, "tokens_per_second": 40.0}
        path.write_text(json.dumps(value))
        return reader.read().stage("generate").rate

    # It resumed from 50 rows of an earlier attempt, so only the second report shows its speed.
    assert look(50, 1001.0) == pytest.approx(50.0)
    assert look(54, 1005.0) == pytest.approx(1.0)
    assert look(54, 1005.0) == pytest.approx(1.0), "no new report"
    assert look(74, 1009.0) == pytest.approx(3.0), "lumps are evened out"
    assert look(74 + 18, 1069.0) == pytest.approx(18 / 60), "reports older than a minute are dropped"
    assert reader.read().stage("generate").tokens_per_second == 40.0


def test_the_rest_of_the_time_is_that_of_the_rows_a_model_words(make_run: Callable[..., Run], queue: Queue) -> None:
    """With 1,500 drafts of 1,600 rows done in a second, the ETA was 0s while a model was loaded and answered."""
    run = make_run(cluster={"kind": "slurm"}, generate__shards=1)
    append_submission(run, Submission("slurm", "generate", "5", "0"))
    queue["5"] = QueueEntry("RUNNING")
    reader = StatusReader(run, queue.view)
    path = run.stage_dir("generate") / "shard-00000.progress.json"

    def look(done: int, at: float, slow: int, since: float, **more: str) -> StageStatus:
        value = {"done": done, "total": 1600, "unit": "rows", "time": at, "started": 1000.0, **more}
        path.write_text(json.dumps({**value, "slow_done": slow, "slow_total": 100, "slow_since": since}))
        return reader.read().stage("generate")

    drafts = look(1500, 1001.0, 0, 0.0)
    assert drafts.eta_s is None and drafts.fraction == 0.0 and drafts.rate == pytest.approx(1500)
    loading = look(1500, 1001.5, 0, 0.0, doing="loading the engine")
    assert loading.eta_s is None and loading.doing == {"loading the engine": 1}
    assert "loading the engine" in plain_line(loading) and "generate: loading the engine" in shown(reader.read())
    first = look(1510, 1035.0, 10, 1030.0)  # two a second since the engine was up
    assert first.doing == {} and first.fraction == pytest.approx(0.1) and first.eta_s == pytest.approx(45.0)
    assert look(1520, 1045.0, 20, 1030.0).eta_s == pytest.approx(80.0), "the last minute's pace: one a second"


def test_tokens_a_second_are_the_reports_number(make_run: Callable[..., Run], queue: Queue) -> None:
    """Status divided tokens by the seconds of the whole task, the report by those in which its model worked."""
    run = make_run(cluster={"kind": "slurm"})
    numbers = [{"tokens": 100, "tokens_per_second": 100.0}, {"tokens": 300, "tokens_per_second": 30.0}]
    for shard, metrics in enumerate(numbers):
        commit(run, "generate", shard, metrics=metrics)
    receipts = [read_receipt(run.stage_dir("generate"), shard) for shard in range(2)]
    reported = stage_row("generate", 2, [receipt._asdict() for receipt in receipts if receipt is not None])
    assert queue.status(run).stage("generate").tokens_per_second == reported["metrics"]["tokens_per_second"]
    assert reported["metrics"]["tokens_per_second"] == pytest.approx(400 / 11)


def test_tail_shows_what_a_progress_bar_last_said(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail(log, 5) == []
    log.write_bytes(b"first\n10%\r50%\r100% done\nlast \xff\n")
    assert tail(log, 2) == ["100% done", "last �"]
    log.write_text("x" * 200_000 + "\nend\n")
    assert tail(log, 1) == ["end"]


def test_logs_are_those_of_the_newest_submission(make_run: Callable[..., Run]) -> None:
    run = make_run()
    for job in ("1", "2"):
        append_submission(run, Submission("slurm", "merge", job, "0"))
        run.log_dir("merge").mkdir(parents=True, exist_ok=True)
        (run.log_dir("merge") / attempt_log(job, 1)).write_text(job)
    assert [log.path.read_text() for log in select_logs(run)] == ["2"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (4.4, "4s"), (75, "1m15s"), (3725, "1h02m"), (400_000, "4d15h")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_H1_a_login_node_whose_clock_is_ahead_still_shows_why_a_shard_failed(
    make_run: Callable[..., Run], queue: Queue
) -> None:
    """Ten minutes ahead, the failure seemed older than its submission, and its reason was lost."""
    run = make_run(cluster={"kind": "slurm"})
    for attempt, job, message in ((1, "5", "old"), (2, "6", "no such file")):
        append_submission(run, Submission("slurm", "merge", job, "0", attempt=attempt, time=time.time() + 600))
        queue[job] = QueueEntry("FAILED", "exit 1", "n1")
        if attempt == 2:
            assert queue.status(run).stage("merge").failures[0].reason == "FAILED (exit 1) on n1", "not that of job 5"
        write_failure(run, "merge", 0, kind="ValueError", message=message, attempt=attempt, job=job)
        assert queue.status(run).stage("merge").failures[0].reason == f"ValueError: {message}"
    # A requeued start has a higher number and the same job.
    write_failure(run, "merge", 0, kind="ValueError", message="again", attempt=3, job="6")
    assert queue.status(run).stage("merge").failures[0].reason == "ValueError: again"


def test_H1_another_hosts_driver_is_alive_by_the_file_servers_clock(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat is a file's time; this host's clock, ten minutes ahead, called the driver dead."""
    run = make_run()
    write_json(driver_file(run), {"pid": 1, "host": "elsewhere", "started": 0.0, "state": "running"})
    (run.path / ".driver").touch()
    ahead = time.time() + 600
    monkeypatch.setattr("slurm.local.driver.time.time", lambda: ahead)
    driver = read_driver(run)
    assert driver is not None and driver["alive"]
    os.utime(run.path / ".driver", (ahead - 1300, ahead - 1300))
    driver = read_driver(run)
    assert driver is not None and not driver["alive"]
