"""From a stage's resources and the cluster profile to sbatch options; what is not an option is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.plan import STAGES
from routenator.config import ClusterConfig, Resources, RunConfig
from routenator.errors import InputError, InputErrors

# Long options of sbatch 22.05 to 25.05 that a user may set under `extra`.
# fmt: off
SBATCH_OPTIONS = frozenset({
    "account", "acctg-freq", "batch", "bb", "bbf", "begin", "chdir", "cluster-constraint", "clusters", "comment", "constraint",
    "container", "container-id", "contiguous", "core-spec", "cores-per-socket", "cpu-freq", "cpus-per-gpu", "deadline",
    "delay-boot", "distribution", "exclude", "exclusive", "export", "export-file", "extra", "extra-node-info", "get-user-env",
    "gid", "gpu-bind", "gpu-freq", "gpus", "gpus-per-node", "gpus-per-socket", "gpus-per-task", "gres", "gres-flags", "hint",
    "hold", "input", "licenses", "mail-type", "mail-user", "mcs-label", "mem", "mem-bind", "mem-per-cpu", "mem-per-gpu", "mincpus",
    "network", "nice", "no-kill", "nodefile", "nodelist", "ntasks-per-core", "ntasks-per-gpu", "ntasks-per-socket", "oom-kill-step",
    "overcommit", "oversubscribe", "power", "prefer", "priority", "profile", "propagate", "qos", "reboot", "reservation",
    "resv-ports", "segment", "sockets-per-node", "spread-job", "stepmgr", "switches", "thread-spec", "threads-per-core", "time-min",
    "tmp", "tres-bind", "tres-per-job", "tres-per-task", "uid", "use-min-nodes", "wait-all-nodes", "wckey", "x11",
})
# fmt: on
# Options that this project sets by itself, and the key of the config that decides each.
MANAGED_OPTIONS: Mapping[str, str] = {
    "array": "cluster.array_parallelism",
    "cpus-per-task": "cluster.stages.STAGE.cpus",
    "dependency": "nothing; the plan decides",
    "error": "nothing; logs go to RUN/logs/STAGE",
    "job-name": "name",
    "kill-on-invalid-dep": "nothing; always yes",
    "nodes": "cluster.stages.STAGE.nodes",
    "no-requeue": "cluster.requeue",
    "ntasks": "nothing; one task a node",
    "ntasks-per-node": "nothing; one task a node",
    "open-mode": "nothing; always append",
    "output": "nothing; logs go to RUN/logs/STAGE",
    "parsable": "nothing",
    "partition": "cluster.partition or cluster.stages.STAGE.partition",
    "requeue": "cluster.requeue",
    "signal": "cluster.signal_delay_s",
    "test-only": "nothing; `plan` submits nothing",
    "time": "cluster.stages.STAGE.minutes",
    "wait": "--wait of the command line",
    "wrap": "nothing",
}
# Only these are written to work on several nodes.
MULTI_NODE_STAGES = ("train", "evaluate")


def resources(config: RunConfig, stage: str) -> Resources:
    """What one task of a stage asks for; the defaults where the profile names none."""
    return {str(name): value for name, value in config.cluster.stages.items()}.get(stage, Resources())


def check_resources(config: RunConfig) -> None:
    """Refuse resources that no scheduler could give, and unknown sbatch options.

    Raises:
        InputError / InputErrors: with key, found, expected, nearest valid name.
    """
    cluster = config.cluster
    errors = _extra_errors(cluster.extra, "cluster.extra")
    for stage in STAGES:
        asked = resources(config, stage)
        key = f"cluster.stages.{stage}"
        errors += _extra_errors(asked.extra, f"{key}.extra")
        if asked.nodes > 1 and stage not in MULTI_NODE_STAGES:
            errors.append(
                InputError(
                    f"{stage} runs on one node a task; more tasks come from {stage}.shards",
                    key=f"{key}.nodes",
                    found=asked.nodes,
                    expected="1",
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
                "training and its allocation disagree about the nodes",
                key="train.nodes",
                found=config.train.nodes,
                expected=f"cluster.stages.train.nodes = {config.train.nodes}",
            )
        )
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors)


def sbatch_parameters(config: RunConfig, stage: str) -> dict[str, Any]:
    """Parameters of submitit's SlurmExecutor for one stage; what submitit has no word for goes into ``additional_parameters``.

    Nothing here depends on the shards, on other jobs, or on this machine.
    """
    cluster, asked = config.cluster, resources(config, stage)
    parameters: dict[str, Any] = {
        "job_name": f"{config.name}.{stage}",
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
    # A generic option given under `extra` replaces ours of the same name (mem: 0 for all of a node's memory, for one).
    for name in additional:
        parameters.pop(name.replace("-", "_"), None)
    parameters["additional_parameters"] = additional
    # Since Slurm 22.05 srun does not take --cpus-per-task over from sbatch, and a step would be bound to one core.
    parameters["srun_args"] = [f"--cpus-per-task={asked.cpus}", "--kill-on-bad-exit=1", *cluster.srun_args]
    return {name: value for name, value in parameters.items() if value is not None or name == "wckey"}


def node_hours(cluster: ClusterConfig, stage: str, tasks: int) -> float:
    """At most so many node-hours: tasks x nodes x time limit. What is used is less, and shows in the report."""
    asked = {str(name): value for name, value in cluster.stages.items()}.get(stage, Resources())
    return tasks * asked.nodes * asked.minutes / 60


def _long(name: str) -> str:
    return name.replace("_", "-").lstrip("-")


def _extra_errors(extra: Mapping[str, Any], key: str) -> list[InputError]:
    errors = []
    for name in extra:
        if _long(name) in MANAGED_OPTIONS:
            errors.append(
                InputError(
                    "this sbatch option is not set here",
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
