"""The entry point of a job, without a scheduler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.entry import failure_path, read_failure, run_task
from jobs.plan import Run
from jobs.task import done_shards
from routenator.errors import StageError
from tests.slurm.conftest import PACKAGE


def test_several_shards_one_failing(
    make_run: Callable[..., Run], toys: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    (toys / "sample-0.fail").touch()
    with pytest.raises(StageError, match="sample shard 0: ValueError: told to fail"):
        run_task(run.path, "sample", [0, 1], attempt=4, job="77_0", package=PACKAGE)
    assert done_shards(run.stage_dir("sample"), 2) == {1}
    failure = read_failure(run, "sample", 0)
    assert failure is not None and (failure["attempt"], failure["job"], failure["kind"]) == (4, "77_0", "ValueError")
    assert capfd.readouterr().err.strip().endswith("ValueError: told to fail at sample 0"), (
        "the log ends with the reason"
    )
    (toys / "sample-0.fail").unlink()
    run_task(run.path, "sample", [0], package=PACKAGE)
    assert not failure_path(run, "sample", 0).exists()


def test_an_expected_error_is_logged_without_a_traceback(
    make_run: Callable[..., Run], capfd: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    with pytest.raises(StageError):
        run_task(run.path, "generate", [0], package=PACKAGE)
    failure = read_failure(run, "generate", 0)
    assert failure is not None and failure["trace"] == "" and "sample shard 0 is not done" in failure["message"]
    assert "Traceback" not in capfd.readouterr().err


def test_a_stage_that_ends_without_a_receipt_has_failed(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lazy = tmp_path / "lazystages"
    lazy.mkdir()
    (lazy / "__init__.py").touch()
    (lazy / "sample.py").write_text("VERSION = 1\n\n\ndef run(task):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    run = make_run()
    with pytest.raises(StageError, match="without a receipt"):
        run_task(run.path, "sample", [0], package="lazystages")
    # On any node but the first it is not this process's business.
    monkeypatch.setenv("SLURM_PROCID", "1")
    run_task(run.path, "sample", [0], package="lazystages")


def test_the_last_shard_publishes(make_run: Callable[..., Run]) -> None:
    run = make_run(sample__shards=1, generate__shards=1)
    for stage in ("sample", "generate", "merge"):
        assert not (run.path / "dataset").exists()
        run_task(run.path, stage, [0], package=PACKAGE)
    assert (run.path / "dataset").is_dir()
