"""Explains Slurm's reason codes and what to do about them.

Source: "JOB REASON CODES" of squeue(1), Slurm 22.05 to 25.05.
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
    "JobHeldUser": "held by its user; use scontrol release",
    "JobHeldAdmin": "held by an administrator",
    "JobLaunchFailure": "could not be launched",
    "launch failed requeued held": "could not be launched and is held; use scontrol release",
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


def explained(reason: str) -> str:
    """Explain a reason code: ``Resources`` -> waits for free nodes (Resources). Other text is returned unchanged."""
    code, _, rest = reason.partition(",")
    detail = rest.strip()
    known = _WORDS.get(code.strip())
    if known is None and re.fullmatch(r"\w+", code) and (match := _LIMIT.match(code)) is not None and match["who"]:
        what = [part.lower() for part in re.findall(r"[A-Z]{2,}(?=[A-Z][a-z]|\b)|[A-Z][a-z]+|[A-Z]+", match["what"])]
        things = ", ".join(dict.fromkeys(_WHAT[part] for part in what if part in _WHAT)) or "resources in use at once"
        known = f"the limit of {_WHO[match['who']]} is reached: {things}"
    if known is None:
        return reason
    return f"{known} ({code.strip()}{f': {detail}' if detail else ''})"
