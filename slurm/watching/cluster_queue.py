"""Reads the state of the whole cluster: free resources by partition, users' jobs, why they wait, and your fair share.

Each refresh makes one ``sinfo`` call, one ``squeue`` call and at most one ``sshare`` call, however many nodes and jobs
there are, all with named columns.
"""

from __future__ import annotations

import functools
import getpass
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from routenator.errors import InputError, RoutenatorError
from slurm.submission.answers import UnreadableError, job_rows, moment, named, rows, task_ids
from slurm.submission.client import ask
from slurm.submission.gres import gpu_count, gpus_by_type

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
_T = TypeVar("_T")
_DOWN = frozenset({"down", "fail", "failing", "unknown", "error", "future", "invalid_reg"})
# On a cluster that switches nodes off when they are idle, Slurm starts one that is off as soon as a job needs it.
_OFF_OR_STARTING = frozenset({"powered_down", "powering_up"})
# Nothing starts on these for now.
_SET_ASIDE = frozenset(
    {
        "maint",
        "reserved",
        "reboot",
        "reboot_issued",
        "reboot_requested",
        "blocked",
        "power_down",
        "powering_down",
    }
)


class ClusterError(RoutenatorError):
    """The cluster did not answer, or its answer cannot be read."""


@dataclass
class PartitionView:
    """One partition.

    Attributes:
        state: up, down, drain or inactive; only in one that is up is anything free.
        time_limit: in Slurm's format: ``1-00:00:00``, ``infinite``.
        nodes: state -> nodes. A draining node counts as drained even while jobs run on it, one that does not respond
            as down, and one that Slurm switched off until a job needs it as idle.
        cpus_total, cpus_free: cores; free ones only on nodes that accept jobs.
        gpus_total, gpus_free: type -> GPUs; ``gpu`` where the cluster names no type.
        running, pending: tasks; one submitted to several partitions counts in each.
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
    """One user's tasks in the queue.

    Attributes:
        tasks: state (running, pending ...) -> tasks.
        nodes: nodes of the running tasks; a shared node counts once for each.
        gpus: GPUs of the running tasks.
        gpus_pending: GPUs that the pending tasks request.
    """

    user: str
    tasks: dict[str, int] = field(default_factory=dict)
    nodes: int = 0
    gpus: int = 0
    gpus_pending: int = 0


@dataclass(frozen=True)
class Start:
    """A pending task with an expected start; ``time`` in seconds since the epoch."""

    job: str
    name: str
    user: str
    partition: str
    time: float


@dataclass(frozen=True)
class Share:
    """Fair share of one of the user's accounts.

    Attributes:
        shares: its share of the cluster, 0 to 1.
        usage: the fraction of the cluster that it has used recently, 0 to 1.
        fair_share: the factor in the job priority, 0 to 1; higher is better.
    """

    account: str
    user: str
    shares: float
    usage: float
    fair_share: float


@dataclass
class ClusterView:
    """A snapshot of the cluster.

    Attributes:
        time: seconds since the epoch.
        reasons: Slurm's reason -> pending tasks.
        starts: the earliest expected starts.
        fair_share: the user's own; empty where the cluster has no fair share.
    """

    time: float
    partitions: list[PartitionView]
    users: list[UserView]
    reasons: dict[str, int]
    starts: list[Start]
    fair_share: list[Share]

    def as_dict(self) -> dict[str, Any]:
        """Return the snapshot as JSON-compatible values."""
        return asdict(self)


def read_cluster(partition: str | None = None, user: str | None = None, share: bool = True) -> ClusterView:
    """Query the cluster.

    Args:
        partition: only this partition.
        user: only this user's jobs.
        share: whether to query the calling user's fair share.

    Raises:
        InputError: there is no Slurm on this machine, or no such partition.
        ClusterError: the cluster did not answer, or an answer cannot be read.
    """
    if shutil.which("sinfo") is None or shutil.which("squeue") is None:
        raise InputError(
            "there is no Slurm on this machine",
            key="queue",
            found="no sinfo, no squeue",
            expected="a login node of a cluster",
        )
    partitions = _parsed(
        "sinfo", parse_sinfo, _ask(["sinfo", "--noheader", "--Node", f"--Format={named(_SINFO_FIELDS)}"])
    )
    if partition is not None:
        if partition not in partitions:
            raise InputError("no such partition", key="--partition", found=partition, valid=partitions)
        partitions = {partition: partitions[partition]}
    filters = [f"--partition={partition}"] if partition else []
    filters += [f"--user={user}"] if user else []
    text = _ask(["squeue", "--noheader", f"--Format={named(_SQUEUE_FIELDS)}", *filters])
    view = ClusterView(time.time(), list(partitions.values()), [], {}, [], _fair_share() if share else [])
    _parsed("squeue", functools.partial(count_jobs, view=view), text)
    return view


def _ask(command: list[str]) -> str:
    code, text = ask(command)
    if code:
        raise ClusterError(text)
    return text


def _parsed(name: str, parse: Callable[[str], _T], text: str) -> _T:
    try:
        return parse(text)
    except UnreadableError as error:
        raise ClusterError(f"{name}: {error}") from None


def parse_sinfo(text: str) -> dict[str, PartitionView]:
    """Parse sinfo's output, one line per node and partition, to partition -> view; the default partition first."""
    found: dict[str, PartitionView] = {}
    for _, state, gres, used, name, cpus, limit, available in rows(text, len(_SINFO_FIELDS)):
        view = found.setdefault(name.rstrip("*"), PartitionView(name.rstrip("*"), name.endswith("*"), available, limit))
        word = node_state(state)
        view.nodes[word] += 1
        _, idle, _, total = (int(part) for part in cpus.split("/"))
        usable = available == "up" and word in ("idle", "mixed", "allocated")
        view.cpus_total += total
        view.cpus_free += idle if usable else 0
        busy = gpus_by_type(used)
        for kind, count in gpus_by_type(gres).items():
            view.gpus_total[kind] = view.gpus_total.get(kind, 0) + count
            view.gpus_free[kind] = view.gpus_free.get(kind, 0) + (max(count - busy.get(kind, 0), 0) if usable else 0)
    return dict(sorted(found.items(), key=lambda item: (not item[1].default, item[0])))


def node_state(state: str) -> str:
    """Map Slurm's node state to one of ``NODE_STATES``: ``IDLE+DRAIN`` -> drained, ``IDLE+POWERED_DOWN`` -> idle."""
    words = {word.strip("*~#!%$@^-") for word in state.lower().split("+")}
    # A node that is off cannot respond, nor can one that is starting.
    silent = state.endswith("*") or ("not_responding" in words and not words & _OFF_OR_STARTING)
    if words & _DOWN or silent:
        return "down"
    if words & {"drain", "drained", "draining"}:
        return "drained"
    if words & _SET_ASIDE or state.endswith(("!", "%")):
        return "other"
    return next((word for word in ("idle", "mixed", "allocated") if word in words), "other")


def count_jobs(text: str, view: ClusterView) -> None:
    """Add the jobs of squeue's output to a view: by partition, by user and by reason, and the expected starts."""
    partitions = {item.name: item for item in view.partitions}
    users: dict[str, UserView] = {}
    reasons: Counter[str] = Counter()
    starts = []
    for job, where, state, name, reason, start, nodes, alloc, per_node, per_job, title in job_rows(
        text, len(_SQUEUE_FIELDS)
    ):
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
    """Parse lines of ``Account|User|RawShares|NormShares|EffectvUsage|FairShare``; skips lines without numbers."""
    found = []
    for account, user, _, shares, usage, factor in rows(text, len(_SSHARE_FIELDS)):
        if user and shares and factor:
            found.append(Share(account, user, float(shares), float(usage or 0), float(factor)))
    return found


def _fair_share() -> list[Share]:
    if shutil.which("sshare") is None:
        return []
    command = ["sshare", "--noheader", "--parsable2", f"--format={','.join(_SSHARE_FIELDS)}"]
    code, text = ask([*command, f"--users={getpass.getuser()}"])
    # A cluster without accounting has no fair share; that is not an error.
    return _parsed("sshare", parse_sshare, text) if code == 0 else []


def _asked_gpus(alloc: str, per_node: str, per_job: str, nodes: int) -> int:
    if (got := gpu_count(alloc)) is not None:
        return got
    return (gpu_count(per_node) or 0) * nodes + (gpu_count(per_job) or 0)
