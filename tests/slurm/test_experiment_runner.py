"""How the runs of an experiment share this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slurm.experiments.runner import Ended, Work, cores, run_all, why
from tests.conftest import ROOT


class Sleep:
    """A piece of work that runs a shell command and needs no models."""

    def __init__(self, folder: Path, name: str, line: str, makes: str | None = None) -> None:
        self.name, self.line, self.done, self.makes = name, line, folder / f"{name}.done", folder / (makes or name)

    def missing(self) -> dict[str, Path]:
        return {} if self.done.is_file() else {"it": self.makes}

    def command(self, folder: Path) -> list[str]:
        copied = "test -f ${PYTHONPATH%%:*}/slurm/commands/main.py"
        return ["sh", "-c", f"{copied} && {self.line} && date +%s.%N > {self.done}"]

    def failure(self) -> str | None:
        return None

    def summary(self) -> str:
        return "slept"


def test_a_failure_stops_no_other_and_is_explained(tmp_path: Path) -> None:
    works = [Sleep(tmp_path, "bad", "echo error: no such thing; false"), Sleep(tmp_path, "good", "true")]
    told: list[Ended] = []
    ended = run_all(works, tmp_path / "x", 1, told=told.append, began=lambda work, log: None)
    assert [(one.work.name, one.code) for one in ended] == [("bad", 1), ("good", 0)] and told == ended
    assert why(ended[0]) == "error: no such thing"
    assert ended[0].left_s is not None and ended[1].left_s is None


def test_two_that_write_the_same_directory_do_not_run_at_once(tmp_path: Path) -> None:
    line = 'echo "$$ $(date +%s.%N)" >> LOG; sleep 0.5; date +%s.%N >> LOG'.replace("LOG", str(tmp_path / "log"))
    works: list[Work] = [Sleep(tmp_path, "a", line, "shared"), Sleep(tmp_path, "b", line, "shared")]
    run_all(works, tmp_path / "x", 2, told=lambda one: None, began=lambda work, log: None)
    times = [float(text.split()[-1]) for text in (tmp_path / "log").read_text().splitlines()]
    assert len(times) == 4 and times == sorted(times) and times[2] - times[0] >= 0.5


def test_each_run_has_its_own_cores(tmp_path: Path) -> None:
    every = os.sched_getaffinity(0)
    assert set().union(*(cores(slot, 2) for slot in range(2))) == every
    if len(every) > 1:
        assert not cores(0, 2) & cores(1, 2)
    assert cores(0, 2 * len(every)) <= every
    line = f"{sys.executable} -c 'import os; print(sorted(os.sched_getaffinity(0)))' > {tmp_path}/cores"
    run_all([Sleep(tmp_path, "a", line)], tmp_path / "x", 2, told=lambda one: None, began=lambda work, log: None)
    assert json.loads((tmp_path / "cores").read_text()) == sorted(cores(0, 2))


def test_a_signal_ends_the_children(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom tests.slurm.test_experiment_runner import Sleep\n"
        "from slurm.experiments.runner import run_all\n"
        "folder = Path(sys.argv[1])\n"
        "work = Sleep(folder, 'a', f'echo $$ > {folder}/pid; sleep 60')\n"
        "run_all([work], folder / 'x', 1, told=print, began=print)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 180
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=180)
    assert b"Stopped" in words
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
