"""Translates a stage's resources and the cluster profile to sbatch options, and rejects unknown ones by name."""

from __future__ import annotations

import functools
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.plan import Run
from jobs.stages import STAGES
from routenator.config import ClusterConfig, Resources, RunConfig
from routenator.errors import InputError, InputErrors, RoutenatorError
from routenator.files import digest
from slurm.submission.client import ask, of_cluster

# Long options of sbatch, 22.05 to 26.05, that a user may set under `extra`.
# fmt: off
SBATCH_OPTIONS = frozenset({
    "account", "acctg-freq", "batch", "bb", "bbf", "begin", "chdir", "cluster-constraint", "clusters", "comment",
    "constraint", "container", "container-id", "container-type", "contiguous", "core-spec", "cores-per-socket",
    "cpu-freq", "cpus-per-gpu", "deadline", "delay-boot", "distribution", "exclude", "exclusive", "export",
    "export-file", "extra", "extra-node-info", "get-user-env", "gid", "gpu-bind", "gpu-freq", "gpus", "gpus-per-node",
    "gpus-per-socket", "gpus-per-task", "gres", "gres-flags", "hint", "hold", "input", "licenses", "mail-type",
    "mail-user", "mcs-label", "mem", "mem-bind", "mem-per-cpu", "mem-per-gpu", "mincpus", "network", "nice", "no-kill",
    "nodefile", "nodelist", "ntasks-per-core", "ntasks-per-gpu", "ntasks-per-socket", "oom-kill-step", "overcommit",
    "oversubscribe", "power", "prefer", "priority", "profile", "propagate", "qos", "reboot", "reservation",
    "resv-ports", "segment", "sockets-per-node", "spread-job", "spread-segments", "stepmgr", "switches", "thread-spec",
    "threads-per-core", "time-min", "tmp", "tres-bind", "tres-per-job", "tres-per-task", "uid", "use-min-nodes",
    "wait-all-nodes", "wckey", "x11",
})
# fmt: on
# Options that this project sets itself, and the config key that controls each.
MANAGED_OPTIONS: Mapping[str, str] = {
    "array": "cluster.array_parallelism",
    "cpus-per-task": "cluster.stages.STAGE.cpus",
    "dependency": "nothing; it follows from the plan",
    "error": "nothing; logs go to RUN/logs/STAGE",
    "job-name": "name",
    "kill-on-invalid-dep": "nothing; always yes",
    "nodes": "cluster.stages.STAGE.nodes",
    "no-requeue": "cluster.requeue",
    "ntasks": "nothing; always one task per node",
    "ntasks-per-node": "nothing; always one task per node",
    "open-mode": "nothing; always append",
    "output": "nothing; logs go to RUN/logs/STAGE",
    "parsable": "nothing",
    "partition": "cluster.partition or cluster.stages.STAGE.partition",
    "requeue": "cluster.requeue",
    "signal": "cluster.signal_delay_s",
    "test-only": "nothing; `plan` submits nothing",
    "time": "cluster.stages.STAGE.minutes",
    "wait": "--wait on the command line",
    "wrap": "nothing",
}
# Tasks per slot of the array in a stage of short shards: enough to balance the load, few enough for startup not to
# dominate.
SHORT_TASKS_A_PLACE = 4
MAX_ARRAYS = 4  # per stage, where shards_per_task is chosen automatically
JOBS_PART = 4  # one stage takes at most a quarter of the controller's MaxJobCount


def resources(config: RunConfig, stage: str) -> Resources:
    """Return the resources of one task of a stage; the defaults where the profile names none."""
    return _asked(config.cluster, stage)


def _asked(cluster: ClusterConfig, stage: str) -> Resources:
    named = {str(name): value for name, value in cluster.stages.items()}
    own, like, default = named.get(stage, Resources()), STAGES[stage].like, Resources()
    if like is None or like not in named:
        return own
    # By value: a plan's config names every key, so it does not tell which ones were set.
    changed = {name: value for name, value in own if value != getattr(default, name)}
    return named[like].model_copy(update=changed)


def check_resources(config: RunConfig) -> None:
    """Check for impossible resources and unknown sbatch options.

    Raises:
        InputError / InputErrors: with key, found, expected and the nearest valid name.
    """
    cluster = config.cluster
    errors = _extra_errors(cluster.extra, "cluster.extra")
    if cluster.container is not None and cluster.kind == "local":
        errors.append(
            InputError(
                "cluster=local runs tasks directly on this machine",
                key="cluster.container",
                found="a container",
                expected="null",
            )
        )
    chosen = cluster_name(config)
    if chosen is not None and not re.fullmatch(r"[\w.-]+", chosen):
        errors.append(
            InputError(
                "a run is on one cluster, because jobs of two cannot wait for each other",
                key="cluster.extra.clusters",
                found=chosen,
                expected="the name of one cluster",
            )
        )
    for stage, declared in STAGES.items():
        if declared.like and stage not in cluster.stages:
            continue  # it takes that stage's resources, which are checked there
        asked = resources(config, stage)
        key = f"cluster.stages.{stage}"
        errors += _extra_errors(asked.extra, f"{key}.extra")
        if any(_long(name) == "clusters" for name in asked.extra):
            errors.append(
                InputError(
                    "a run is on one cluster, because jobs of two cannot wait for each other",
                    key=f"{key}.extra.clusters",
                    found=asked.extra.get("clusters"),
                    expected="nothing; set cluster.extra.clusters",
                )
            )
        if asked.nodes > 1 and not declared.takes_nodes:
            errors.append(
                InputError(
                    f"a {stage} task runs on one node; for more tasks, raise {stage}.shards",
                    key=f"{key}.nodes",
                    found=asked.nodes,
                    expected="1",
                )
            )
        if asked.shards_per_task is not None and declared.shards is None:
            errors.append(
                InputError(
                    f"{stage} has only one shard",
                    key=f"{key}.shards_per_task",
                    found=asked.shards_per_task,
                    expected="nothing",
                )
            )
        if asked.nodes > 1 and cluster.kind == "local":
            errors.append(InputError("cluster=local has one node", key=f"{key}.nodes", found=asked.nodes, expected="1"))
        if cluster.kind == "slurm" and cluster.signal_delay_s >= asked.minutes * 60:
            errors.append(
                InputError(
                    "the warning signal would come before the task starts",
                    key="cluster.signal_delay_s",
                    found=cluster.signal_delay_s,
                    expected=f"less than {key}.minutes ({asked.minutes * 60} seconds)",
                )
            )
    if config.train.nodes != resources(config, "train").nodes:
        errors.append(
            InputError(
                "train.nodes and the allocation of training disagree",
                key="train.nodes",
                found=config.train.nodes,
                expected=f"cluster.stages.train.nodes = {config.train.nodes}",
            )
        )
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors)


def job_name(run: Run, stage: str) -> str:
    """Return what the Slurm names of a stage's jobs begin with, unique to the run by a hash of its directory.

    Each job's own name ends with a token of its submission.
    """
    return f"{run.config.name}.{stage}.{digest(str(run.path))[:8]}"


def cluster_name(config: RunConfig) -> str | None:
    """Return the cluster that the profile names for ``sbatch --clusters``; None for the default one."""
    return next((str(value) for name, value in config.cluster.extra.items() if _long(name) == "clusters"), None)


def sbatch_parameters(config: RunConfig, stage: str) -> dict[str, Any]:
    """Return parameters of submitit's SlurmExecutor for one stage.

    Options that submitit does not know go into ``additional_parameters``. Nothing here depends on the shards, on other
    jobs, or on this machine.
    """
    cluster, asked = config.cluster, resources(config, stage)
    parameters: dict[str, Any] = {
        "time": asked.minutes,
        "nodes": asked.nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": asked.cpus,
        "mem": f"{round(asked.memory_gib * 1024)}M",
        "partition": asked.partition or cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "exclusive": True if cluster.exclusive else None,
        "signal_delay_s": cluster.signal_delay_s,
        "array_parallelism": cluster.array_parallelism,
        "stderr_to_stdout": True,
        "wckey": None,
    }
    if asked.gpus:
        if cluster.gres:
            parameters["gres"] = cluster.gres
        else:
            parameters["gpus_per_node"] = asked.gpus
    additional: dict[str, Any] = {"kill-on-invalid-dep": "yes", "requeue" if cluster.requeue else "no-requeue": True}
    additional |= {_long(name): value for name, value in {**cluster.extra, **asked.extra}.items() if value is not False}
    # An option under `extra` replaces ours of the same name (for example mem: 0 for all of a node's memory).
    for name in additional:
        parameters.pop(name.replace("-", "_"), None)
    parameters["additional_parameters"] = additional
    return {name: value for name, value in parameters.items() if value is not None or name == "wckey"}


def srun_command(config: RunConfig, stage: str, folders: Sequence[str]) -> str:
    """Return the srun line that starts a task on each node, up to the interpreter; ``LOG`` stands for the log's name.

    Args:
        folders: folders that a container must mount besides the user's own mounts.
    """
    cluster, asked = config.cluster, resources(config, stage)
    # Since Slurm 22.05 srun does not inherit --cpus-per-task from sbatch, and the step would be bound to one core.
    srun = [f"--cpus-per-task={asked.cpus}", "--kill-on-bad-exit=1", *cluster.srun_args]
    inner: list[str] = []
    box = cluster.container
    if box is not None:
        mounts = [*folders, *box.mounts]
        if box.kind == "pyxis":
            shown = ",".join(mount if ":" in mount else f"{mount}:{mount}" for mount in mounts)
            srun += [f"--container-image={box.image}", f"--container-mounts={shown}", *box.args]
        else:
            nv = ["--nv"] if asked.gpus else []
            inner = ["apptainer", "exec", *nv, *(f"--bind={mount}" for mount in mounts), *box.args, box.image]
    # The submitting interpreter need not exist in the image.
    python = cluster.python or ("python3" if box is not None else shlex.quote(sys.executable))
    return " ".join(["srun --unbuffered --output LOG", shlex.join([*srun, *inner]), python])


def shards_per_task(config: RunConfig, stage: str, shards: int, tasks: int) -> int:
    """Return how many neighbouring shards one array task works through.

    Where the profile does not set it: as many as needed for the stage not to exceed ``tasks``; for sample, whose shards
    take seconds, also enough that there are only a few tasks per slot of the array.

    Args:
        shards: number of shards to submit.
        tasks: maximum tasks of a stage.
    """
    asked = resources(config, stage).shards_per_task
    if asked is not None:
        return asked
    if STAGES[stage].is_brief:
        tasks = min(tasks, config.cluster.array_parallelism * SHORT_TASKS_A_PLACE)
    return max(1, -(-shards // tasks))


def node_hours(cluster: ClusterConfig, stage: str, tasks: int) -> float:
    """Return the upper bound in node-hours: tasks x nodes x time limit. The report shows what was really used."""
    asked = _asked(cluster, stage)
    return tasks * asked.nodes * asked.minutes / 60


def _long(name: str) -> str:
    return name.replace("_", "-").lstrip("-")


def _extra_errors(extra: Mapping[str, Any], key: str) -> list[InputError]:
    errors = []
    for name in extra:
        if _long(name) in MANAGED_OPTIONS:
            errors.append(
                InputError(
                    "this sbatch option cannot be set here",
                    key=f"{key}.{name}",
                    found=name,
                    expected=f"set by: {MANAGED_OPTIONS[_long(name)]}",
                )
            )
        elif _long(name) not in SBATCH_OPTIONS:
            errors.append(
                InputError(
                    "no such sbatch option",
                    key=f"{key}.{name}",
                    found=_long(name),
                    expected="one of " + ", ".join(sorted(SBATCH_OPTIONS)),
                    valid=SBATCH_OPTIONS,
                )
            )
    return errors


class SubmitError(RoutenatorError):
    """sbatch rejected a job, or the cluster did not answer."""


@dataclass(frozen=True)
class Limits:
    """The cluster's limits.

    Attributes:
        array: maximum tasks of one array: ``MaxArraySize`` (ids stay below it) and ``max_array_tasks``.
        jobs: maximum tasks in the controller, of all users: ``MaxJobCount``.
    """

    array: int
    jobs: int

    @property
    def tasks(self) -> int:
        """Maximum tasks of one stage: a few arrays, and only a part of the controller's capacity."""
        return max(1, min(self.array * MAX_ARRAYS, self.jobs // JOBS_PART))


def ask_limits(cluster: str | None = None) -> Limits:
    """Return the cluster's limits; asks only once per process, because asking takes as long as submitting a job.

    Args:
        cluster: a cluster other than the default.

    Raises:
        SubmitError: scontrol does not answer.
    """
    return _ask_limits(os.environ.get("SLURM_CONF"), cluster)


@functools.cache
def _ask_limits(conf: str | None, cluster: str | None) -> Limits:
    """Ask scontrol. ``conf`` is part of the cache key: it identifies the default cluster."""
    code, text = ask(["scontrol", *of_cluster(cluster), "show", "config"])
    if code or "MaxArraySize" not in text:
        raise SubmitError(text[:200] if code else f"scontrol show config: unreadable answer: {text.strip()[:200]}")
    return parse_limits(text)


def planned_limits(cluster: str | None = None) -> Limits:
    """Return ``ask_limits``, or Slurm's defaults where no Slurm answers, so that scripts can be previewed anywhere."""
    try:
        return ask_limits(cluster)
    except SubmitError:
        return parse_limits("")


def parse_limits(text: str) -> Limits:
    """Parse the limits from ``scontrol show config``; Slurm's defaults where they are missing."""
    size = re.search(r"^MaxArraySize\s*=\s*(\d+)", text, re.MULTILINE)
    tasks = re.search(r"^SchedulerParameters\s*=.*\bmax_array_tasks=(\d+)", text, re.MULTILINE)
    limits = [int(size[1]) if size else 1001, *([int(tasks[1])] if tasks else [])]
    jobs = re.search(r"^MaxJobCount\s*=\s*(\d+)", text, re.MULTILINE)
    return Limits(max(min(limits), 1), int(jobs[1]) if jobs else 10_000)
