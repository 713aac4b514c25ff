"""A job's script, run by bash without Slurm: its end does not depend on the user's setup lines."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from jobs.plan import Run
from slurm.submission.answers import QueueEntry
from slurm.submission.executor import StageExecutor
from slurm.submission.queue import QueueView
from slurm.submission.script import SETUP_FAILED
from slurm.submission.submissions import Submission, append_submission
from slurm.watching.status import StatusReader
from tests.slurm.conftest import run_script


def script(logs: Path, setup: Sequence[str], array: str | None = None) -> str:
    """The script of a job with these setup lines."""
    logs.mkdir(parents=True)
    parameters = {"array_parallelism": 1, "additional_parameters": {"requeue": True}}
    return StageExecutor(logs, "srun --output LOG python", parameters, setup).script(array)


OPTIONS = [
    "set -e",
    "set -u",
    "set -o pipefail",
    "set -euo pipefail",
    "set -C",
    "trap 'exit 0' EXIT",
    "trap 'exit 77' ERR",
    "trap 'code=0 again=' DEBUG",
    "shopt -s expand_aliases; alias rm=false scontrol=false exit=return trap=: cat=false",
    "rm() { false; }; scontrol() { false; }; sleep() { exit 5; }",
    "exec >/dev/null 2>&1",
    "cd /; set -- a b",
]


@pytest.mark.parametrize("line", OPTIONS)
def test_D1_the_end_is_immune_to_the_setups_options_traps_and_aliases(line: str, tmp_path: Path) -> None:
    """With ``set -e`` in cluster.setup, a preempted task in a container was FAILED instead of requeued."""
    logs = tmp_path / "a 'log" / "folder"
    text = script(logs, [line])
    # As a task does where there is no scontrol: it leaves a mark and exits.
    srun = f"cd {shlex.quote(str(logs))}; touch 5_0.attempt-1.log requeue-5; exit 9"
    done = run_script(text, tmp_path / "batch", srun)
    assert (done.returncode, done.stdout) == (9, "scontrol requeue 5\n"), done.stderr
    assert [path.name for path in logs.iterdir()] == ["5_0.attempt-1.log"]


@pytest.mark.parametrize(
    ("setup", "code", "said"),
    [
        (["source /missing/activate"], 1, "exit code 1 of: source /missing/activate"),
        (["export A=1", "module load cuda", "echo never"], 127, "exit code 127 of: module load cuda"),
        (["if true; then", "  false", "fi"], 1, "exit code 1 of:   false"),
        # bash calls no trap here, but its own message is the line above
        (["set -e", "source /missing/activate"], 1, "ended the script, exit code 1"),
        (["set -u", "echo $NOT_SET"], 1, "ended the script, exit code 1"),
        (["exit 0"], 1, "ended the script, exit code 1"),
        (["trap 'exit 0' EXIT", "set -e", "false"], 1, "exit code 1 of: false"),
        (["then"], 2, "ended the script, exit code 2"),
    ],
)
def test_D2_a_setup_line_that_fails_ends_the_task_at_once(
    setup: list[str], code: int, said: str, tmp_path: Path
) -> None:
    """With ``source /missing/activate`` the run continued, and only JOB_batch.log said so."""
    logs = tmp_path / "a 'log" / "folder"
    done = run_script(script(logs, setup, array="0-1"), tmp_path / "batch", "echo the task runs")
    assert done.returncode == code and "the task runs" not in done.stdout and "requeue" not in done.stdout
    names = sorted(path.name for path in logs.iterdir())
    assert names == ["4_1_0.attempt-1.log", "4_1_0.attempt-1.log.setup"], "each task of an array has its own"
    last = (logs / "4_1_0.attempt-1.log").read_text().splitlines()[-1]
    assert last == f"routenator: cluster.setup: {said}"


def test_setup_lines_that_do_not_fail_do_not_end_the_task(tmp_path: Path) -> None:
    """What `set -e` lets pass, and what fails inside a sourced file that itself succeeds."""
    activate = tmp_path / "activate"
    activate.write_text("false\nexport SOURCED=$#\n")
    setup = ["[ -f /missing ] && source /missing", f"source {activate}", "false || true", "echo a warning >&2"]
    logs = tmp_path / "logs"
    text = script(logs, [*setup, "f() { false; true; }; f"])
    done = run_script(text, tmp_path / "batch", "echo sourced with $SOURCED arguments")
    assert (done.returncode, done.stdout) == (0, "a warning\nsourced with 0 arguments\n"), done.stderr
    assert list(logs.iterdir()) == []


def test_D3_status_counts_the_tasks_that_ended_in_their_setup(make_run: Callable[..., Run]) -> None:
    """Without accounting too; a requeue by hand that got further has its own end."""
    run = make_run(cluster={"kind": "slurm", "setup": ["module load cuda"]}, sample__shards=4, generate__shards=1)
    append_submission(run, Submission("slurm", "sample", "7", "0-3", array=True, attempt=2))
    logs = run.log_dir("sample")
    logs.mkdir(parents=True)
    said = "/var/spool/job7/slurm_script: line 9: module: command not found\n" + (
        f"{SETUP_FAILED}: exit code 127 of: module load cuda\n"
    )
    for name in ("7_0_0.attempt-2.log", "7_1_0.attempt-2.log", "7_2_0.attempt-1.log"):
        (logs / name).write_text(said)
        (logs / f"{name}.setup").write_text(said)
    (logs / "7_1_0.attempt-3.log").write_text("the task began")
    (logs / "7_3_0.attempt-2.log.setup").write_text("killed in its setup")
    unreadable = QueueView({}, accounting=False, problem="the queue could not be read")
    stage = StatusReader(run).read(unreadable).stage("sample")
    assert (stage.failed_shards, stage.unknown) == ([0], 3)
    assert stage.failures[0].reason == (
        "SetupError: cluster.setup: exit code 127 of: module load cuda; module: command not found"
    )
    assert stage.failures[0].log == str(logs / "7_0_0.attempt-2.log") and stage.failures[0].attempt == 2


def test_D3_the_exit_code_of_a_setup_line_is_the_scripts(make_run: Callable[..., Run]) -> None:
    """`status` added "or 131: SIGQUIT", as accounting cannot tell the two apart, and `logs -f` named no setup line."""
    run = make_run(cluster={"kind": "slurm", "setup": ["exit 3"]})
    append_submission(run, Submission("slurm", "sample", "7", "0-1", array=True, name="toy"))
    logs = run.log_dir("sample")
    logs.mkdir(parents=True)
    for shard in (0, 1):
        log = logs / f"7_{shard}_0.attempt-1.log"
        log.write_text(f"{SETUP_FAILED}: ended the script, exit code 3\n")
        (logs / f"{log.name}.setup").touch()
    ended = {(f"7_{shard}", "toy"): QueueEntry("FAILED", "exit 3, or 131: SIGQUIT", "n1") for shard in (0, 1)}
    reader = StatusReader(run, lambda submissions: QueueView(ended, accounting=True))
    [first, _] = reader.read().stage("sample").failures
    assert (first.exit_code, first.reason) == ("exit 3", "SetupError: cluster.setup: ended the script, exit code 3")
    assert reader.shard("sample", 1).reason == first.reason
