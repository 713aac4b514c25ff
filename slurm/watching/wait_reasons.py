"""Explains Slurm's reason codes and what to do about them.

Source: "JOB REASON CODES" of squeue(1), Slurm 22.05 to 25.05, and the texts that Slurm shows in place of a code.
"""

from __future__ import annotations

import re

_WORDS = {
    "Priority": "jobs with higher priority are ahead",
    "Resources": "waits for free nodes",
    "Dependency": "waits for an earlier stage",
    "DependencyNeverSatisfied": "a job it depends on has failed; it will never start",
    "JobArrayTaskLimit": "the limit of running array tasks, cluster.array_parallelism, is reached",
    "BeginTime": "its earliest start time has not come; a requeued task waits for a short while",
    "JobHeldUser": "held by its user; scontrol release {jobs}",
    "JobHeldAdmin": "held by an administrator, who can release it: scontrol release {jobs}",
    "JobHoldMaxRequeue": "requeued too often and held; scontrol release {jobs}",
    "JobLaunchFailure": "could not be launched",
    "launch failed requeued held": "could not be launched and is held; scontrol release {jobs}",
    "job requeued in held state": "requeued and held, by a person or a prolog; scontrol release {jobs}",
    "user env retrieval failed requeued held": "its user's environment could not be read; scontrol release {jobs}",
    "requeue_hold": "requeued and held; scontrol release {jobs}",
    "special_exit": "requeued and held after a special exit; scontrol release {jobs}",
    "resv_del_hold": "its reservation was removed and it is held; scontrol release {jobs}",
    "Licenses": "waits for a license",
    "Reservation": "waits for its reservation",
    "ReservationDeleted": "its reservation was removed",
    "NodeDown": "a node it needs is down",
    "ReqNodeNotAvail": "nodes it needs are down, drained or reserved",
    "BadConstraints": "no node satisfies its constraint",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition accepts no jobs at the moment",
    "PartitionNodeLimit": "requests more nodes than its partition allows, or they are down",
    "PartitionTimeLimit": "requests more time than its partition allows",
    "InvalidAccount": "its account is not valid",
    "InvalidQOS": "its QOS is not valid",
    "AccountNotAllowed": "its account may not use this partition",
    "QOSNotAllowed": "its QOS may not use this partition",
    "QOSUsageThreshold": "its QOS requires a higher fair share",
    "Cleaning": "its last attempt is still being cleaned up",
    "Prolog": "its nodes are being prepared",
    "FrontEndDown": "no front-end node is up",
    "InactiveLimit": "was inactive for too long",
    "NonZeroExitCode": "ended with an error",
    "TimeLimit": "hit its time limit",
    "SystemFailure": "Slurm, a file system or the network failed",
    "RaisedSignal": "was killed by a signal",
    "BurstBufferResources": "waits for a burst buffer",
    "BurstBufferStageIn": "its burst buffer is being filled",
}
# Reasons that only a person can end; waiting does not help.
_STUCK = frozenset(
    {
        "JobHeldUser",
        "JobHeldAdmin",
        "JobHoldMaxRequeue",
        "launch failed requeued held",
        "job requeued in held state",
        "user env retrieval failed requeued held",
        "requeue_hold",
        "special_exit",
        "resv_del_hold",
        "ReservationDeleted",
        "BadConstraints",
        "PartitionDown",
        "PartitionInactive",
        "PartitionTimeLimit",
        "InvalidAccount",
        "InvalidQOS",
        "AccountNotAllowed",
        "QOSNotAllowed",
    }
)
# QOSMaxMemoryPerJob, AssocMaxWallDurationPerJobLimit ...: a single task is too large for the limit.
_TOO_LARGE = re.compile(r"^(Assoc|QOS)Max\w+Per(Job|Node)(Limit)?$")
_LIMITED = re.compile(r"(Assoc|QOS)(Grp|Max|Min)\w+$")
# AssocGrpGRES, QOSMaxJobsPerUserLimit, MaxMemPerLimit ...: whose limit, and on what.
_LIMIT = re.compile(r"^(?P<who>Assoc|QOS)?(?P<scope>Grp|Max|Min|Resource)?(?P<what>\w*?)(?P<limit>Limit)?$")
_WHO = {"Assoc": "its account", "QOS": "its QOS"}
_WHAT = {
    "cpu": "cores",
    "cpus": "cores",
    "mem": "memory",
    "memory": "memory",
    "gres": "GPUs",
    "node": "nodes",
    "nodes": "nodes",
    "job": "jobs",
    "jobs": "jobs",
    "submit": "submitted jobs",
    "wall": "time",
    "billing": "billing units",
}


def stuck(reason: str) -> bool:
    """Whether a task that waits for this reason starts only after a person has done something."""
    return all(code in _STUCK or _TOO_LARGE.match(code) is not None for code in map(_code, _parts(reason)))


def may_start(reason: str) -> bool:
    """Whether a task that waits for this reason may start without an earlier stage ending or anybody stepping in."""
    return any(part != "Dependency" and not stuck(part) for part in _parts(reason))


def explained(reason: str, jobs: str = "JOB") -> str:
    """Explain a reason code: ``Resources`` -> waits for free nodes (Resources). Other text is returned unchanged.

    Args:
        jobs: ids of the tasks, for the commands in the explanation.
    """
    return "; ".join(_explained(part, jobs) for part in _parts(reason))


def names_jobs(reason: str) -> bool:
    """Whether the explanation itself names the tasks."""
    return any("{jobs}" in _WORDS.get(_code(part), "") for part in _parts(reason))


def _explained(reason: str, jobs: str) -> str:
    code, detail = _code(reason), reason.partition(",")[2].strip()
    known = _WORDS.get(code)
    if known is None and re.fullmatch(r"\w+", code) and (match := _LIMIT.match(code)) is not None and match["who"]:
        what = [part.lower() for part in re.findall(r"[A-Z]{2,}(?=[A-Z][a-z]|\b)|[A-Z][a-z]+|[A-Z]+", match["what"])]
        things = ", ".join(dict.fromkeys(_WHAT[part] for part in what if part in _WHAT)) or "resources in use at once"
        known = f"the limit of {_WHO[match['who']]} is reached: {things}"
    if known is None:
        return reason
    return f"{known.format(jobs=jobs)} ({code}{f': {detail}' if detail else ''})"


def _parts(reason: str) -> list[str]:
    """Split the reasons of several tasks: squeue shows the waiting tasks of an array as one, ``Resources,JobHeldUser``.

    What follows a code and a comma may also be its detail: ``ReqNodeNotAvail, UnavailableNodes:n4``.
    """
    found = reason.split(",")
    return found if all(_code(part) in _WORDS or _LIMITED.match(part) for part in found) else [reason]


def _code(reason: str) -> str:
    # Some versions write the texts with underscores.
    code = reason.partition(",")[0].strip()
    spaced = code.replace("_", " ")
    return spaced if spaced in _WORDS else code
