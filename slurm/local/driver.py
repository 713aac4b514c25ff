"""The local driver: runs the same stages, tasks and receipts as on a cluster, on this machine.

The driver is a process in its own session (``python -m slurm.local.driver RUN``, from the run's snapshot of the code),
so a terminal's signals do not reach it directly. ``run`` watches it and stops it on Ctrl-C in an orderly way: it stops
its tasks and records what is done, and a later ``retry`` resumes from the last chunk. With ``--no-wait`` it keeps
running alone.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.entry import STAGE_PACKAGE, publish_if_done, read_failure, write_failure
from jobs.plan import Run
from jobs.task import missing_shards, receipt_path
from routenator.errors import RoutenatorError
from routenator.files import read_json, write_json
from routenator.locks import Lock, LockedError
from slurm.local import processes
from slurm.submission.options import resources
from slurm.submission.script import SETUP_FAILED
from slurm.submission.submissions import Submission, append_submission, attempt_counts, load_submissions, local_log
from slurm.worker.array_task import TASKS_SUFFIX, check_snapshot, read_task, stopped_path, write_tasks
from slurm.worker.stage_task import StageTask, code_environment, drop_inherited

STOP_GRACE_S = 10.0
_POLL_S = 0.1  # short, since a small shard takes less than a second; it only looks at processes of this machine
_HEARTBEAT_S = 5.0  # the mtime of RUN/.driver, by which other hosts see that the driver is alive
EXIT_STOPPED = 130


class DriverRunningError(RoutenatorError):
    """A driver of this run is already running."""


class ForeignProcessError(RoutenatorError):
    """The driver's record names a process that is not one."""


def driver_file(run: Run) -> Path:
    """Return the path of the driver's own record: pid, host, start time, state."""
    return run.path / "driver.json"


def read_driver(run: Run) -> dict[str, Any] | None:
    """Return the last driver's record with ``alive`` added; None if there was none.

    On its own host the process is looked up by id and start time; on another host its heartbeat decides.
    """
    try:
        value: dict[str, Any] = read_json(driver_file(run))
    except FileNotFoundError:
        return None
    if value["state"] != "running":
        value["alive"] = False
    elif value["host"] == socket.gethostname():
        value["alive"] = processes.is_same(value["pid"], value["started"])
    else:
        value["alive"] = _file_time(run.path) - (run.path / ".driver").stat().st_mtime < 12 * _HEARTBEAT_S
    return value


def _file_time(folder: Path) -> float:
    """Return the time by the clock that dates the folder's files: on a network file system, the server's."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:  # a colleague may not write here
        return time.time()


def start_driver(run: Run, *, attached: bool, package: str = STAGE_PACKAGE) -> subprocess.Popen[bytes]:
    """Start the driver of a run in a session of its own.

    Args:
        attached: whether it must stop when the process that started it is gone.
        package: package of the stage modules.

    Raises:
        DriverRunningError: a driver of this run is already running.
        InputError: the run's code snapshot is of another version.
    """
    check_snapshot(run)
    driver = read_driver(run)
    if driver and driver["alive"]:
        raise DriverRunningError(
            f"process {driver['pid']} on {driver['host']} is already running this run; "
            f"see `status {run.path}`, or `cancel` it first"
        )
    log = run.path / "logs" / "driver.log"
    log.parent.mkdir(exist_ok=True)
    with open(log, "ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "slurm.local.driver", str(run.path), str(os.getpid() if attached else 0), package],
            env={**os.environ, **code_environment(run)},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    # Wait until it has written its record: before that, a second command would see no driver and start another.
    while process.poll() is None:
        driver = read_driver(run)
        if driver and driver["pid"] == process.pid:
            break
        time.sleep(0.02)
    return process


def stop_driver(run: Run) -> bool:
    """Ask the run's driver on this machine to stop its tasks and exit, and wait for it; kill it if it does not.

    Returns:
        Whether a driver was running.

    Raises:
        ForeignProcessError: the record names another process.
    """
    driver = read_driver(run)
    if not driver or not driver["alive"] or driver["host"] != socket.gethostname():
        return False
    if not processes.is_driver(driver["pid"], run.path):
        raise ForeignProcessError(
            f"{driver_file(run)} names process {driver['pid']}, which is not a driver of this run; nothing was stopped"
        )
    os.kill(driver["pid"], signal.SIGTERM)
    deadline = time.monotonic() + STOP_GRACE_S + 10
    while time.monotonic() < deadline and processes.is_same(driver["pid"], driver["started"]):
        time.sleep(0.05)
    if processes.is_same(driver["pid"], driver["started"]):
        os.kill(driver["pid"], signal.SIGKILL)
    return True


class _Stopped(Exception):
    """The driver was asked to stop."""


@dataclass
class _Running:
    """A task at work.

    Attributes:
        attempt: attempt number of this start.
        marker: value of the task variable.
        tasks: name of its file in the stage's log folder.
        began: when it was started, by the monotonic clock.
        warned: whether it was sent the warning signal.
    """

    shard: int
    attempt: int
    process: subprocess.Popen[bytes]
    marker: str
    tasks: str
    began: float
    warned: bool = False


class Driver:
    """Runs the stages of a run one after the other, with at most ``cluster.parallel`` tasks at once.

    Args:
        run: the run.
        parent: id of the watching process; the driver stops when it is gone. 0: none.
        package: package of the stage modules.
    """

    def __init__(self, run: Run, parent: int = 0, package: str = STAGE_PACKAGE) -> None:
        self.run = run
        self.parent = parent
        self.package = package
        self._stop: str | None = None
        self._beat = 0.0

    def work(self) -> int:
        """Run the missing shards.

        Returns:
            Exit code: 0 all done, 1 a shard failed, 130 stopped.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(
                number, lambda received, frame: setattr(self, "_stop", f"signal {signal.Signals(received).name}")
            )
        lock = Lock(self.run.path / ".driver")
        try:
            lock.acquire(wait=False)
        except LockedError as error:
            _say(f"another driver is running this run: {error}")
            return 1
        self._write_state("running")
        state, code = "failed", 1
        try:
            code = self._stages()
            state = "done" if code == 0 else "failed"
        except _Stopped as stop:
            state, code = "stopped", EXIT_STOPPED
            _say(f"stopping ({stop}); finished shards and chunks are kept")
        finally:
            processes.end(processes.RUN_VARIABLE, str(self.run.path), STOP_GRACE_S if state == "stopped" else 1.0)
            self._write_state(state, code)
            lock.release()
        _say(f"driver exits: {state}")
        return code

    def _stages(self) -> int:
        for stage, entry in self.run.plan.stages.items():
            missing = sorted(missing_shards(self.run, stage))
            if missing:
                _say(f"{stage}: {len(missing)} of {entry.shards} shards to do")
                failed = self._stage(stage, missing)
                if failed:
                    _say(f"{stage}: {len(failed)} shards failed; the stages after it were not started")
                    return 1
            publish_if_done(self.run, stage)
            _say(f"{stage}: done")
        return 0

    def _stage(self, stage: str, missing: list[int]) -> list[int]:
        """Run these shards. A failed shard does not stop the others.

        Returns:
            The shards that failed.
        """
        waiting = iter(missing)
        counts = attempt_counts(load_submissions(self.run), stage)
        running: dict[int, _Running] = {}  # by slot
        failed: list[int] = []
        while True:
            self._check_stop()
            for slot in range(self.run.config.cluster.parallel):
                if slot not in running and (shard := next(waiting, None)) is not None:
                    running[slot] = self._start(slot, self._task(stage, shard, counts.get(shard, 0) + 1))
            if not running:
                return failed
            time.sleep(_POLL_S)
            for slot, item in list(running.items()):
                if item.process.poll() is None:
                    self._enforce_limit(stage, item)
                    continue
                del running[slot]
                # The task has ended; what it started and left behind (Ray, an engine) would hold the slot's GPUs.
                processes.end(processes.TASK_VARIABLE, item.marker, 1.0)
                stopped = stopped_path(self.run.log_dir(stage), item.tasks, f"local-{item.process.pid}")
                if stopped.is_file():
                    running[slot] = self._start(slot, read_task(stopped))
                elif not self._succeeded(stage, item):
                    failed.append(item.shard)

    def _task(self, stage: str, shard: int, attempt: int) -> StageTask:
        return StageTask(
            self.run.path,
            stage,
            [shard],
            attempt=attempt,
            limit_s=resources(self.run.config, stage).minutes * 60,
            lead_s=self._lead_s(stage),
            package=self.package,
        )

    def _lead_s(self, stage: str) -> float:
        """Seconds between the warning signal and the time limit; at most half of the limit."""
        return min(self.run.config.cluster.signal_delay_s, resources(self.run.config, stage).minutes * 30)

    def _start(self, slot: int, task: StageTask) -> _Running:
        """Start a task in a process of its own."""
        config, asked = self.run.config.cluster, resources(self.run.config, task.stage)
        folder, [shard] = self.run.log_dir(task.stage), task.indices
        tasks = f"{uuid.uuid4().hex[:12]}{TASKS_SUFFIX}"
        write_tasks(folder, tasks, task, {0: task.indices})
        marker = f"{task.stage}/{shard}/{uuid.uuid4().hex[:12]}"
        python = config.python or shlex.quote(sys.executable)
        start = f"exec {python} -u -m slurm.worker.start {shlex.quote(str(folder))} {tasks}"
        opening = folder / f".{tasks}.log"
        with open(opening, "ab") as log:
            process = subprocess.Popen(
                ["bash", "-c", "\n".join([*_setup_lines(config.setup), start])],
                env={
                    **os.environ,
                    processes.RUN_VARIABLE: str(self.run.path),
                    processes.TASK_VARIABLE: marker,
                    "CUDA_VISIBLE_DEVICES": ",".join(str(slot * asked.gpus + number) for number in range(asked.gpus)),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        submission = Submission(
            kind="local",
            stage=task.stage,
            job=str(process.pid),
            shards=str(shard),
            attempt=task.attempt + task.restarts,
            host=socket.gethostname(),
            started=processes.started(process.pid),
        )
        # The log is named after the process, whose id is known only now.
        opening.rename(folder / local_log(submission.job))
        append_submission(self.run, submission)
        return _Running(shard, submission.attempt, process, marker, tasks, time.monotonic())

    def _enforce_limit(self, stage: str, item: _Running) -> None:
        """Warn a task before its time limit, and stop it at the limit."""
        limit_s = resources(self.run.config, stage).minutes * 60
        passed = time.monotonic() - item.began
        if passed >= limit_s:
            processes.end(processes.TASK_VARIABLE, item.marker, 1.0)
        elif passed >= limit_s - self._lead_s(stage) and not item.warned:
            item.warned = True
            item.process.send_signal(signal.SIGUSR2)

    def _succeeded(self, stage: str, item: _Running) -> bool:
        if receipt_path(self.run.stage_dir(stage), item.shard).exists():
            return True
        failure = read_failure(self.run, stage, item.shard)
        job = f"local-{item.process.pid}"
        if failure is None or failure["job"] != job or failure["attempt"] < item.attempt:
            kind, message = (
                "Killed",
                "the task ended without a receipt or an error: it was killed, or ran out of memory",
            )
            last = _last_line(self.run.log_dir(stage) / local_log(str(item.process.pid)))
            if last.startswith(SETUP_FAILED):
                kind, message = "SetupError", last.removeprefix("routenator: ")
            write_failure(self.run, stage, item.shard, kind=kind, message=message, attempt=item.attempt, job=job)
            failure = read_failure(self.run, stage, item.shard)
        assert failure is not None
        _say(f"{stage} shard {item.shard} failed: {failure['kind']}: {failure['message'].splitlines()[0]}")
        return False

    def _check_stop(self) -> None:
        if self.parent and os.getppid() != self.parent:
            self._stop = "the command that was watching is gone"
        if self._stop:
            raise _Stopped(self._stop)
        if time.time() - self._beat > _HEARTBEAT_S:
            self._beat = time.time()
            os.utime(self.run.path / ".driver")

    def _write_state(self, state: str, code: int | None = None) -> None:
        value = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": processes.started(os.getpid()),
            "state": state,
            "exit_code": code,
            "time": time.time(),
        }
        write_json(driver_file(self.run), value)


def _setup_lines(setup: Sequence[str]) -> list[str]:
    """Return the user's lines; the first that fails, or that ends the shell, ends the task and is named in its log.

    As in a job's script, a command inside a sourced file or a function may fail; what counts is how the line ends.
    """
    failed = f'echo "{SETUP_FAILED}: exit code $routenator_code of: $BASH_COMMAND"'
    return [
        f"trap 'routenator_code=$?; if [ ${{#BASH_SOURCE[@]}} = 0 ]; then trap - EXIT; {failed}; "
        "exit $routenator_code; fi' ERR",
        f"trap 'echo \"{SETUP_FAILED}: ended the script, exit code $?\"' EXIT",
        *setup,
        "trap - ERR EXIT DEBUG RETURN",
    ]


def _last_line(log: Path) -> str:
    with open(log, "rb") as handle:
        handle.seek(max(0, handle.seek(0, os.SEEK_END) - 4096))
        lines = handle.read().decode(errors="replace").splitlines()
    return lines[-1] if lines else ""


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}", flush=True)


def main(arguments: list[str]) -> int:
    """Run the driver. Arguments: RUN PARENT PACKAGE."""
    run_dir, parent, package = arguments
    # With the variables of an allocation, a local task would take itself for one node of several.
    drop_inherited()
    return Driver(Run.load(run_dir), int(parent), package).work()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
