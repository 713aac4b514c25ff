"""The list of runs and the exporter on local runs; tests/cluster/test_watch.py tests them on a cluster."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from jobs.entry import write_failure
from jobs.plan import Run
from routenator.errors import InputError
from slurm.submission.answers import QueueEntry
from slurm.submission.queue import QueueView
from slurm.submission.submissions import Submission, append_submission
from slurm.watching.cluster_queue import ClusterView
from slurm.watching.exporter import Gatherer, cluster_metrics, run_metrics
from slurm.watching.runs import RunsReader, runs_table
from tests.slurm.test_status import commit

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runs(make_run: Callable[..., Run]) -> list[Run]:
    """Three runs: one that waits, one that failed, one that was never submitted."""
    waiting = make_run(name="waiting", cluster={"kind": "slurm"})
    append_submission(waiting, Submission("slurm", "generate", "5", "0-2", array=True))
    commit(waiting, "generate", 0, rows=100)
    failed = make_run(name="failed", seed=3)
    append_submission(failed, Submission("local", "sample", "1", "0"))
    write_failure(failed, "sample", 0, kind="ValueError", message="no", attempt=1, job="local-1")
    return [waiting, failed, make_run(name="idle", seed=4)]


def test_all_runs_are_read_with_one_question(runs: list[Run]) -> None:
    asked: list[list[str]] = []

    def ask(submissions: Sequence[Submission]) -> QueueView:
        asked.append([item.job for item in submissions if item.kind == "slurm"])
        return QueueView({("5_1", ""): QueueEntry("RUNNING"), ("5_2", ""): QueueEntry("PENDING", "Resources")}, True)

    root = runs[0].path.parent
    (root / "broken").mkdir()
    (root / "broken" / "plan.json").write_text("{")
    reader = RunsReader(root, ask)
    entries = {entry.dir.partition("-")[0]: entry for entry in reader.read()}
    assert asked == [["5"]]
    states = {name: entry.state for name, entry in entries.items()}
    assert states == {"waiting": "running", "failed": "failed", "idle": "incomplete", "broken": "unreadable"}
    stage = entries["waiting"].at_work
    assert stage is not None and stage.stage == "sample" and entries["waiting"].rows == 100
    out = StringIO()
    runs_table(list(entries.values()), Console(file=out, width=80))
    assert "this plan cannot be read" in out.getvalue() and max(map(len, out.getvalue().splitlines())) <= 80
    assert json.loads(json.dumps([entry.as_dict() for entry in entries.values()]))
    with pytest.raises(InputError, match="no such folder"):
        RunsReader(root / "nowhere")


def test_a_run_that_has_ended_is_read_again_only_after_a_submission(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slurm.watching.runs._SETTLED_S", 0.0)
    reader = RunsReader(runs[1].path.parent, lambda jobs: QueueView({}, True))
    for _ in range(2):
        assert {entry.state for entry in reader.read() if entry.dir.startswith("failed")} == {"failed"}
    (runs[1].log_dir("sample") / "shard-00000.failed.json").unlink()
    assert {entry.state for entry in reader.read() if entry.dir.startswith("failed")} == {"failed"}, "not read again"
    append_submission(runs[1], Submission("local", "sample", "1", "0"))
    assert {entry.state for entry in reader.read() if entry.dir.startswith("failed")} == {"cancelled"}


def test_a_source_that_fails_is_counted_and_the_others_continue(
    runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    reader = RunsReader(runs[0].path.parent, lambda jobs: QueueView({}, False, "no answer"))

    def broken() -> list:  # type: ignore[type-arg]
        raise OSError("no route to host")

    gatherer = Gatherer({"runs": lambda: run_metrics(reader.read()), "cluster": broken})
    gatherer.gather()
    gatherer.gather()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in gatherer.collect()
        for sample in metric.samples
    }
    assert (
        found["routenator_exporter_errors_total", "cluster"] == 2
        and found["routenator_exporter_errors_total", "runs"] == 0
    )
    assert found["routenator_exporter_gathers_total",] == 2
    assert ("routenator_exporter_last_success_timestamp_seconds", "cluster") not in found
    assert found["routenator_run_state", runs[0].path.name, "unknown"] == 1.0
    assert "cluster: OSError: no route to host" in capsys.readouterr().err


def test_the_page_and_the_dashboard_name_the_metrics_that_there_are() -> None:
    view = ClusterView(0.0, [], [], {}, [], [])
    metrics = Gatherer({"runs": lambda: run_metrics([]), "cluster": lambda: cluster_metrics(view)})
    metrics.gather()
    names = {metric.name + ("_total" if metric.type == "counter" else "") for metric in metrics.collect()}
    name = re.compile(r"routenator_[a-z_]+")
    assert set(name.findall((ROOT / "docs" / "monitoring.md").read_text())) == names
    dashboard = (ROOT / "docs" / "grafana-dashboard.json").read_text()
    assert set(name.findall(dashboard)) == names - {
        "routenator_exporter_gathers_total",
        "routenator_run_created_timestamp_seconds",
    }
    panels = json.loads(dashboard)["panels"]
    assert all(
        target["datasource"]["uid"] == "${datasource}" for panel in panels for target in panel.get("targets", ())
    )


def test_the_exporter_serves_runs_and_ends_on_sigterm(runs: list[Run]) -> None:
    command = [
        sys.executable,
        "launch.py",
        "exporter",
        "--root",
        str(runs[0].path.parent),
        "--port",
        "0",
        "--no-cluster",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = re.search(r"http://127\.0\.0\.1:\d+/metrics", process.stderr.readline())
        assert url is not None
        texts = [urllib.request.urlopen(url[0], timeout=60).read().decode() for _ in range(3)]
        families = {family.name: family for family in text_string_to_metric_families(texts[-1])}
        gathers = families["routenator_exporter_gathers"].samples[0].value
        assert gathers == 1, "scraping queries nothing"
        assert all(family.documentation for family in families.values())
        assert {sample.value for sample in families["routenator_run_state"].samples} == {0.0, 1.0}
    finally:
        os.kill(process.pid, signal.SIGTERM)
        code = process.wait(timeout=180)
    assert code == 0
