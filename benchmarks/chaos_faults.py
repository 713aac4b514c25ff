"""Fault injection for ``benchmarks/chaos.py``: faults in a running cluster, chosen by a seed."""

from __future__ import annotations

import contextlib
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

from chaos_answers import COMMANDS, Answers
from chaos_stages.common import POINTS

from jobs.plan import Run
from jobs.task import missing_shards
from slurm.devcluster import faults
from slurm.devcluster.cluster import DevCluster

# Kind of fault -> how often it comes, relative to the others.
WEIGHTS = {
    "task killed (SIGKILL)": 24,
    "killed at a set point of a commit": 22,
    "scontrol requeue": 14,
    "warned as for preemption (USR2)": 10,
    "step killed": 10,
    "node dead (slurmd and all on it)": 8,
    "slurmd killed alone": 4,
    "slurmctld killed": 4,
    "node drained, resumed": 4,
    "slurmctld stopped for a while (SIGSTOP)": 4,
    "squeue": 8,
    "sacct": 5,
    "sbatch": 8,
}
MINED = "killed at a set point of a commit"
_LAID = {MINED, *COMMANDS}  # counted once they go off
_DOWN_S = (1.0, 6.0)  # how long a daemon stays away
_STOPPED_S = (2.0, 15.0)  # how long the controller does not answer; its clients wait for 10 s
_ADMIN_S = 10.0  # how often the administrator looks at the nodes


class Chaos:
    """Injects faults into a run.

    Args:
        mines: folder of the mines (``chaos_stages.common``).
        answers: what Slurm's commands say.
        seed: decides which faults are chosen; when they are injected depends on the progress of the run.
    """

    def __init__(self, cluster: DevCluster, run: Run, mines: Path, answers: Answers, seed: int) -> None:
        self.cluster = cluster
        self.run = run
        self.mines = mines
        self.answers = answers
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep)
        self.away: dict[str, tuple[float, Callable[[], bool]]] = {}  # what is down -> when and how it comes back
        self._means: dict[str, Callable[[], bool]] = {
            "task killed (SIGKILL)": self._kill_task,
            MINED: self._lay_mine,
            "scontrol requeue": self._requeue,
            "warned as for preemption (USR2)": self._warn,
            "step killed": self._kill_step,
            "node dead (slurmd and all on it)": self._kill_node,
            "slurmd killed alone": self._kill_slurmd,
            "slurmctld killed": self._kill_controller,
            "node drained, resumed": self._drain,
            "slurmctld stopped for a while (SIGSTOP)": self._stop_controller,
            **{command: partial(answers.lay, command, self.random) for command in COMMANDS},
        }

    @property
    def injected(self) -> int:
        """Number of faults that have happened; mines and answers count once they have gone off."""
        return sum(self.done.values()) + len(list(self.mines.glob("*.fired"))) + self.answers.fired().total()

    def by_kind(self) -> dict[str, int]:
        """Number of faults of each kind; mines are counted by the point at which they went off."""
        fired = Counter(path.name.split(".")[1] for path in self.mines.glob("*.fired"))
        direct = {kind: self.done[kind] for kind in WEIGHTS if kind not in _LAID}
        at_commit = {f"killed at a commit, at {point}": fired[point] for point in POINTS}
        return direct | at_commit | dict(sorted(self.answers.fired().items()))

    def inject(self) -> None:
        """Inject one fault; try another kind if the chosen one has no target."""
        left = dict(WEIGHTS)
        while left:
            kind = self.random.choices(list(left), list(left.values()))[0]
            if self._means[kind]():
                if kind not in _LAID:
                    self.done[kind] += 1
                return
            del left[kind]

    def __enter__(self) -> Self:
        """Start the thread that brings daemons back up on time, even while the caller is waiting."""
        self._keeper.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Bring everything back up, and let every command answer."""
        self.answers.clear()
        self._over.set()
        self._keeper.join()

    def _keep(self) -> None:
        """Play the administrator: bring back stopped daemons, and nodes drained as a killed step did not answer."""
        last = time.monotonic()
        while self.away or not self._over.wait(0.1):
            for name, (when, how) in list(self.away.items()):
                # What cannot be brought back yet (the controller may be away too) is tried again.
                if (self._over.is_set() or time.monotonic() >= when) and how():
                    del self.away[name]
            if time.monotonic() - last > _ADMIN_S and "slurmctld" not in self.away:
                last = time.monotonic()
                for node in self._nodes():
                    if node not in self.away:
                        _succeeds("scontrol", "update", f"nodename={node}", "state=resume")

    def _task(self) -> faults.TaskProcess | None:
        tasks = sorted(faults.tasks(self.cluster), key=lambda task: task.process.pid)
        return self.random.choice(tasks) if tasks else None

    def _kill_task(self) -> bool:
        task = self._task()
        return task is not None and faults.kill(task.process)

    def _kill_step(self) -> bool:
        task = self._task()
        return task is not None and faults.kill_step(task)

    def _lay_mine(self) -> bool:
        for stage in self.run.plan.stages:
            missing = sorted(missing_shards(self.run, stage))
            free = [shard for shard in missing if not list(self.mines.glob(f"{stage}-{shard}.*"))]
            if free:
                # The shards at work or next to start: a mine in the last shard would go off too late.
                shard = self.random.choice(free[: max(len(free) // 4, 8)])
                # Sample has no checkpoints within a shard.
                point = self.random.choice([point for point in POINTS if (stage, point) != ("sample", "chunk")])
                (self.mines / f"{stage}-{shard}.{point}").touch()
                return True
        return False

    def _requeue(self) -> bool:
        task = self._task()
        return task is not None and _succeeds("scontrol", "requeue", task.task)

    def _warn(self) -> bool:
        task = self._task()
        return task is not None and _succeeds("scancel", "--signal=USR2", task.task)

    def _nodes(self) -> list[str]:
        return [f"n{number}" for number in range(1, self.cluster.nodes + 1)]

    def _node(self) -> str | None:
        nodes = self._nodes()
        free = [node for node in nodes if node not in self.away]
        # With half of the nodes away, the run would only wait.
        return self.random.choice(free) if len(free) > len(nodes) / 2 else None

    def _leave(self, name: str, how: Callable[[], bool]) -> None:
        self.away[name] = (time.monotonic() + self.random.uniform(*_DOWN_S), how)

    def _release(self, name: str) -> bool:
        faults.release(self.cluster, name)
        return True

    def _kill_node(self) -> bool:
        node = self._node()
        if node is None:
            return False
        faults.kill_node(self.cluster, node, held=True)
        self._leave(node, lambda: self._release(node))
        return True

    def _kill_slurmd(self) -> bool:
        node = self._node()
        return node is not None and faults.kill_daemon(self.cluster, node)

    def _kill_controller(self) -> bool:
        if "slurmctld" in self.away:
            return False
        faults.kill_daemon(self.cluster, "slurmctld", held=True)
        self._leave("slurmctld", lambda: self._release("slurmctld"))
        return True

    def _stop_controller(self) -> bool:
        if "slurmctld" in self.away or not faults.stop_daemon(self.cluster, "slurmctld"):
            return False
        how = partial(faults.continue_daemon, self.cluster, "slurmctld")
        self.away["slurmctld"] = (time.monotonic() + self.random.uniform(*_STOPPED_S), how)
        return True

    def _drain(self) -> bool:
        node = self._node()
        if node is None or not _succeeds("scontrol", "update", f"nodename={node}", "state=drain", "reason=chaos"):
            return False
        # A controller that was killed may have forgotten that it was drained.
        self._leave(
            node,
            lambda: _succeeds("scontrol", "update", f"nodename={node}", "state=resume", or_says="Invalid node state"),
        )
        return True


def _succeeds(*command: str, or_says: str | None = None) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        return done.returncode == 0 or (or_says is not None and or_says in done.stderr)
    return False
