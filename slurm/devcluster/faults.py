"""Injects faults into the test cluster: kills a task, a step, a node or a daemon, or stops one for a while.

It touches only processes below the cluster's own supervisor. A killed daemon is restarted a second later, as an init
system would do, unless it is held down.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from routenator.errors import InputError
from routenator.place import COMMAND
from slurm.devcluster.cluster import DevCluster

_STEP = "slurmstepd"


@dataclass(frozen=True)
class TaskProcess:
    """A process of one of our tasks (``slurm.worker.start``) on a node of the cluster.

    Attributes:
        process: the Python process that runs the stage.
        node: ``n1``.
        job: Slurm's plain job id, ``12`` (for an array task its own, not ``11_3``).
        task: ``11_3`` for an array task, otherwise ``12``.
    """

    process: psutil.Process
    node: str
    job: str
    task: str


def below(cluster: DevCluster) -> list[psutil.Process]:
    """Return all processes of the cluster: its daemons, steps and jobs.

    Raises:
        InputError: it is not running, or has no process namespace, so that its processes cannot be told from others.
    """
    if not cluster.private:
        raise InputError(
            "this test cluster has no process namespace", file=cluster.root, expected="a test cluster started by root"
        )
    try:
        return psutil.Process(cluster.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        raise InputError(
            "this test cluster is not running", file=cluster.root, expected=f"`{COMMAND} devcluster up`"
        ) from None


def tasks(cluster: DevCluster) -> list[TaskProcess]:
    """Return our running tasks."""
    found = []
    for process, environment in _with_environment(cluster):
        with contextlib.suppress(psutil.Error):
            if "slurm.worker.start" in process.cmdline() and "SLURM_JOB_ID" in environment and process.name() != "srun":
                job = environment["SLURM_JOB_ID"]
                array = environment.get("SLURM_ARRAY_JOB_ID")
                task = f"{array}_{environment['SLURM_ARRAY_TASK_ID']}" if array else job
                found.append(TaskProcess(process, environment.get("SLURMD_NODENAME", ""), job, task))
    return found


def kill(process: psutil.Process) -> bool:
    """Send SIGKILL; return whether the process existed."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def kill_step(task: TaskProcess) -> bool:
    """Kill a task and its step's daemon, as the out-of-memory killer may do; return whether they existed."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = task.process.parent()
        if parent is not None and _STEP in parent.name():
            return kill(parent) | kill(task.process)
    return False


def kill_daemon(cluster: DevCluster, name: str, *, held: bool = False) -> bool:
    """Kill ``slurmctld``, ``slurmdbd``, or the slurmd of a node (``n1``), whose jobs keep running.

    Args:
        held: whether it stays down until ``release``.

    Returns:
        Whether it was running.
    """
    if held:
        cluster.held(name).touch()
    return sum(kill(process) for process in _daemon(cluster, name)) > 0


def stop_daemon(cluster: DevCluster, name: str) -> bool:
    """Stop a daemon (SIGSTOP), so that it neither answers nor refuses; return whether it was running."""
    return _signal_daemon(cluster, name, signal.SIGSTOP)


def continue_daemon(cluster: DevCluster, name: str) -> bool:
    """Let a stopped daemon continue; return whether it was running."""
    return _signal_daemon(cluster, name, signal.SIGCONT)


def _signal_daemon(cluster: DevCluster, name: str, number: signal.Signals) -> bool:
    found = False
    for process in _daemon(cluster, name):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            found = True
    return found


def _daemon(cluster: DevCluster, name: str) -> Iterator[psutil.Process]:
    for process in below(cluster):
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            node = command[command.index("-N") + 1] if command[:1] == ["slurmd"] and "-N" in command else ""
            if name in (node, command[0] if command else ""):
                yield process


def kill_node(cluster: DevCluster, node: str, *, held: bool = False) -> int:
    """Kill a node: its slurmd and all steps and tasks on it die at once.

    Args:
        held: whether the node stays down until ``release``.

    Returns:
        The number of processes killed.
    """
    count = int(kill_daemon(cluster, node, held=held))
    # Parents first, so that nobody is left to report a child's death to the controller.
    for _ in range(3):
        own = [
            process for process, environment in _with_environment(cluster) if environment.get("SLURMD_NODENAME") == node
        ]
        if not own:
            break
        parents = {}
        for process in own:
            with contextlib.suppress(psutil.Error):
                parent = process.parent()
                if parent is not None and _STEP in parent.name():
                    parents[parent.pid] = parent
        count += sum(kill(process) for process in [*parents.values(), *own])
    return count


def release(cluster: DevCluster, name: str) -> None:
    """Let a held daemon or node come back, within a second or two."""
    cluster.held(name).unlink(missing_ok=True)


def _with_environment(cluster: DevCluster) -> Iterator[tuple[psutil.Process, dict[str, str]]]:
    for process in below(cluster):
        try:
            yield process, process.environ()
        except psutil.Error:
            continue
