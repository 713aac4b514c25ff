"""Jobs that a crashed controller forgot: accounting lists them as pending for ever, and they must not be waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slurm.queue import read_queue

SACCT = "7_[0-1]|PENDING|0:0|None assigned|1700000000|Unknown|Unknown|0|1|\n8|RUNNING|0:0|n1|1700000000|1700000001|Unknown|9|1|\n"


def clients(folder: Path, squeue: str, code: int = 0) -> None:
    """squeue and sacct that say this."""
    for name, text, ends in (("sacct", SACCT, 0), ("squeue", squeue, code)):
        (folder / f"{name}.txt").write_text(text)
        (folder / name).write_text(f"#!/bin/sh\ncat {folder}/{name}.txt{' >&2' if ends else ''}\nexit {ends}\n")
        (folder / name).chmod(0o755)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_what_the_controller_does_not_know_is_lost(folder: Path) -> None:
    clients(folder, "8|RUNNING|None|n1|1700000001|1800000000|0|1|\n")
    queue = read_queue(["7", "8"])
    lost, known = queue.entry("7_1"), queue.entry("8")
    assert queue.problem is None
    assert lost is not None and (lost.state, lost.live) == ("LOST", False)
    assert known is not None and known.live


def test_so_is_all_where_it_knows_none_of_the_jobs(folder: Path) -> None:
    clients(folder, "slurm_load_jobs error: Invalid job id specified\n", code=1)
    assert [entry.state for entry in read_queue(["7", "8"]).entries.values()] == ["LOST"] * 3


def test_a_controller_that_does_not_answer_forgets_nothing(folder: Path) -> None:
    clients(folder, "slurm_load_jobs error: Unable to contact slurm controller\n", code=1)
    queue = read_queue(["7", "8"])
    assert queue.problem is not None and all(entry.live for entry in queue.entries.values())
