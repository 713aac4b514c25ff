"""The cluster, not a run: what its partitions have free, who runs and waits, why, and one's fair share.

One ``sinfo``, one ``squeue`` and at most one ``sshare`` a look, whatever the number of nodes and jobs, all with named
columns.
"""

from __future__ import annotations

import getpass
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from routenator.errors import InputError, RoutenatorError
from slurm.submission.queue import ask, moment, named, rows, task_ids

NODE_STATES = ("idle", "mixed", "allocated", "drained", "down", "other")
MAX_STARTS = 10
_SINFO_FIELDS = ("NodeList", "StateComplete", "Gres", "GresUsed", "Partition", "CPUsState", "Time", "Available")
_SQUEUE_FIELDS = (
    *(
        "JobArrayID",
        "Partition",
        "State",
        "UserName",
        "Reason",
        "StartTime",
        "NumNodes",
        "tres-alloc",
        "tres-per-node",
        "tres-per-job",
    ),
    "Name",
)
_SSHARE_FIELDS = ("Account", "User", "RawShares", "NormShares", "EffectvUsage", "FairShare")
_DOWN = frozenset(
    {"down", "fail", "failing", "not_responding", "unknown", "powered_down", "error", "future", "invalid_reg"}
)
# gpu:4, gpu:a100:4(S:0-1), gpu:a100:2(IDX:0,3)
_GRES = re.compile(r"(?:^|,)gpu:(?:([A-Za-z_][\w.-]*):)?(\d+)")
_TRES = re.compile(r"gres/gpu=(\d+)")
_ASKED = re.compile(r"gres[:/]gpu(?::[A-Za-z_][\w.-]*)?[:=](\d+)")


class ClusterError(RoutenatorError):
    """The cluster does not answer."""


@dataclass
class PartitionView:
    """One partition.

    Attributes:
        state: up, down, drain or inact.
        time_limit: as Slurm writes it: ``1-00:00:00``, ``infinite``.
        nodes: state -> nodes. A node that is drained but still at work counts as drained; one that does not answer as
            down.
        cpus_total, cpus_free: cores; free on nodes that take jobs.
        gpus_total, gpus_free: type -> GPUs; ``gpu`` where the cluster names no type.
        running, pending: tasks; one that may go to several partitions counts in each.
    """

    name: str
    default: bool = False
    state: str = "up"
    time_limit: str = "infinite"
    nodes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NODE_STATES, 0))
    cpus_total: int = 0
    cpus_free: int = 0
    gpus_total: dict[str, int] = field(default_factory=dict)
    gpus_free: dict[str, int] = field(default_factory=dict)
    running: int = 0
    pending: int = 0


@dataclass
class UserView:
    """What one user has in the queue.

    Attributes:
        tasks: state (running, pending ...) -> tasks.
        nodes: of the running ones; a node that is shared counts for each.
        gpus: of the running ones.
        gpus_pending: that the waiting ones ask for.
    """

    user: str
    tasks: dict[str, int] = field(default_factory=dict)
    nodes: int = 0
    gpus: int = 0
    gpus_pending: int = 0


@dataclass(frozen=True)
class Start:
    """A waiting task that Slurm has planned; ``time`` in seconds since the epoch."""

    job: str
    name: str
    user: str
    partition: str
    time: float


@dataclass(frozen=True)
class Share:
    """Fair share of one account of mine.

    Attributes:
        shares: part of the cluster that it is promised, 0 to 1.
        usage: part that it has used lately, 0 to 1.
        fair_share: the factor that goes into the priority, 0 to 1; more is better.
    """

    account: str
    user: str
    shares: float
    usage: float
    fair_share: float


@dataclass
class ClusterView:
    """The cluster at one moment.

    Attributes:
        time: seconds since the epoch.
        reasons: Slurm's reason -> waiting tasks.
        starts: the earliest of the planned ones.
        fair_share: mine; empty where the cluster has no fair share.
    """

    time: float
    partitions: list[PartitionView]
    users: list[UserView]
    reasons: dict[str, int]
    starts: list[Start]
    fair_share: list[Share]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def read_cluster(partition: str | None = None, user: str | None = None, share: bool = True) -> ClusterView:
    """Ask the cluster.

    Args:
        partition: only this one.
        user: jobs of this user alone.
        share: whether to ask for the fair share of whoever asks.

    Raises:
        InputError: there is no Slurm on this machine, or no such partition.
        ClusterError: it does not answer.
    """
    if shutil.which("sinfo") is None or shutil.which("squeue") is None:
        raise InputError(
            "there is no Slurm on this machine",
            key="queue",
            found="no sinfo, no squeue",
            expected="a login node of a cluster",
        )
    code, text = ask(["sinfo", "--noheader", "--Node", f"--Format={named(_SINFO_FIELDS)}"])
    if code:
        raise ClusterError(f"sinfo: {text.strip() or f'exit {code}'}")
    partitions = parse_sinfo(text)
    if partition is not None:
        if partition not in partitions:
            raise InputError("no such partition", key="--partition", found=partition, valid=partitions)
        partitions = {partition: partitions[partition]}
    filters = [f"--partition={partition}"] if partition else []
    filters += [f"--user={user}"] if user else []
    code, text = ask(["squeue", "--noheader", f"--Format={named(_SQUEUE_FIELDS)}", *filters])
    if code:
        raise ClusterError(f"squeue: {text.strip() or f'exit {code}'}")
    view = ClusterView(time.time(), list(partitions.values()), [], {}, [], _fair_share() if share else [])
    count_jobs(text, view)
    return view


def parse_sinfo(text: str) -> dict[str, PartitionView]:
    """Partition -> what it has, from one line a node and partition."""
    found: dict[str, PartitionView] = {}
    for _, state, gres, used, name, cpus, limit, available in rows(text, len(_SINFO_FIELDS)):
        view = found.setdefault(name.rstrip("*"), PartitionView(name.rstrip("*"), name.endswith("*"), available, limit))
        word = node_state(state)
        view.nodes[word] += 1
        _, idle, _, total = (int(part) for part in cpus.split("/"))
        usable = word in ("idle", "mixed", "allocated")
        view.cpus_total += total
        view.cpus_free += idle if usable else 0
        busy = _gpus(used)
        for kind, count in _gpus(gres).items():
            view.gpus_total[kind] = view.gpus_total.get(kind, 0) + count
            view.gpus_free[kind] = view.gpus_free.get(kind, 0) + (max(count - busy.get(kind, 0), 0) if usable else 0)
    return dict(sorted(found.items(), key=lambda item: (not item[1].default, item[0])))


def node_state(state: str) -> str:
    """``IDLE+DRAIN`` -> drained; one of ``NODE_STATES``."""
    words = {word.strip("*~#!%$@^-") for word in state.lower().split("+")}
    if words & _DOWN or state.endswith("*"):
        return "down"
    if words & {"drain", "drained", "draining"}:
        return "drained"
    if words & {"maint", "reserved", "reboot", "reboot_issued", "reboot_requested", "blocked"}:
        return "other"
    return next((word for word in ("idle", "mixed", "allocated") if word in words), "other")


def count_jobs(text: str, view: ClusterView) -> None:
    """Put the jobs of squeue's text into a view: by partition, by user, by reason, and the planned starts."""
    partitions = {item.name: item for item in view.partitions}
    users: dict[str, UserView] = {}
    reasons: Counter[str] = Counter()
    starts = []
    for job, where, state, name, reason, start, nodes, alloc, per_node, per_job, title in _jobs(text):
        tasks = len(list(task_ids(job)))
        node_count = int(nodes) if nodes.isdigit() else 1
        gpus = _asked_gpus(alloc, per_node, per_job, node_count) * tasks
        user = users.setdefault(name, UserView(name))
        word = state.lower()
        user.tasks[word] = user.tasks.get(word, 0) + tasks
        waiting = state == "PENDING"
        for partition in where.split(","):
            if partition in partitions:
                partitions[partition].pending += tasks if waiting else 0
                partitions[partition].running += tasks if state == "RUNNING" else 0
        if waiting:
            user.gpus_pending += gpus
            reasons[reason.strip("()").partition(",")[0]] += tasks
            if (planned := moment(start)) is not None:
                starts.append(Start(job, title, name, where, planned))
        else:
            user.nodes += node_count * tasks
            user.gpus += gpus
    view.users = sorted(
        users.values(), key=lambda item: (-item.tasks.get("running", 0), -sum(item.tasks.values()), item.user)
    )
    view.reasons = dict(reasons.most_common())
    view.starts = sorted(starts, key=lambda item: item.time)[:MAX_STARTS]


def parse_sshare(text: str) -> list[Share]:
    """Lines of ``Account|User|RawShares|NormShares|EffectvUsage|FairShare``; without a fair share the numbers are
    empty.
    """
    found = []
    for account, user, _, shares, usage, factor in rows(text, len(_SSHARE_FIELDS)):
        if user and shares and factor:
            found.append(Share(account, user, float(shares), float(usage or 0), float(factor)))
    return found


def _jobs(text: str) -> Iterable[list[str]]:
    # A job's name comes last, because it may hold the separator.
    columns = len(_SQUEUE_FIELDS)
    for line in text.splitlines():
        fields = line.strip().removesuffix("|").split("|", columns - 1)
        if len(fields) == columns:
            yield fields


def _fair_share() -> list[Share]:
    if shutil.which("sshare") is None:
        return []
    code, text = ask(
        ["sshare", "--noheader", "--parsable2", f"--format={','.join(_SSHARE_FIELDS)}", f"--users={getpass.getuser()}"]
    )
    # Where there is no accounting there is no fair share, and that is no error.
    return parse_sshare(text) if code == 0 else []


def _gpus(gres: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    for kind, count in _GRES.findall(gres):
        found[kind or "gpu"] += int(count)
    return dict(found)


def _asked_gpus(alloc: str, per_node: str, per_job: str, nodes: int) -> int:
    if (got := _TRES.search(alloc)) is not None:
        return int(got[1])
    return sum(int(count) for count in _ASKED.findall(per_node)) * nodes + sum(
        int(count) for count in _ASKED.findall(per_job)
    )
