"""Why a job waits, in words: Slurm's one-word reasons said so that one knows what to do.

Source: "JOB REASON CODES" of squeue(1), Slurm 22.05 to 25.05.
"""

from __future__ import annotations

import re

_WORDS = {
    "Priority": "others are first",
    "Resources": "waits for free nodes",
    "Dependency": "waits for an earlier stage",
    "DependencyNeverSatisfied": "what it needs has failed; it will never start",
    "JobArrayTaskLimit": "as many tasks of the array run as cluster.array_parallelism allows",
    "BeginTime": "may not start yet; a requeued task waits a moment",
    "JobHeldUser": "held by its user; scontrol release",
    "JobHeldAdmin": "held by an administrator",
    "JobLaunchFailure": "could not be launched",
    "launch failed requeued held": "could not be launched, held; scontrol release",
    "Licenses": "waits for a licence",
    "Reservation": "waits for its reservation",
    "ReservationDeleted": "its reservation was removed",
    "NodeDown": "a node that it needs is down",
    "ReqNodeNotAvail": "nodes that it needs are down, drained or reserved",
    "BadConstraints": "no node meets its constraint",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition takes no jobs now",
    "PartitionNodeLimit": "asks for more nodes than its partition may have, or they are down",
    "PartitionTimeLimit": "asks for more time than its partition allows",
    "InvalidAccount": "its account may not be used",
    "InvalidQOS": "its QOS may not be used",
    "AccountNotAllowed": "its account may not use this partition",
    "QOSNotAllowed": "its QOS may not use this partition",
    "QOSUsageThreshold": "its QOS asks for a better fair share",
    "Cleaning": "its last attempt is still being cleaned up",
    "Prolog": "its nodes are being prepared",
    "FrontEndDown": "no front end node is up",
    "InactiveLimit": "was inactive too long",
    "NonZeroExitCode": "ended with an error",
    "TimeLimit": "ran into its time limit",
    "SystemFailure": "Slurm, a file system or the network failed",
    "RaisedSignal": "was ended by a signal",
    "BurstBufferResources": "waits for a burst buffer",
    "BurstBufferStageIn": "its burst buffer is being filled",
}
# AssocGrpGRES, QOSMaxJobsPerUserLimit, MaxMemPerLimit ...: who limits, and what.
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
    """``Priority`` -> others are first (Priority). A text that is no code of Slurm is given back as it is."""
    code, _, rest = reason.partition(",")
    detail = rest.strip()
    known = _WORDS.get(code.strip())
    if known is None and re.fullmatch(r"\w+", code) and (match := _LIMIT.match(code)) is not None and match["who"]:
        what = [part.lower() for part in re.findall(r"[A-Z]{2,}(?=[A-Z][a-z]|\b)|[A-Z][a-z]+|[A-Z]+", match["what"])]
        things = ", ".join(dict.fromkeys(_WHAT[part] for part in what if part in _WHAT)) or "what one may have at once"
        known = f"the limit of {_WHO[match['who']]} is reached: {things}"
    if known is None:
        return reason
    return f"{known} ({code.strip()}{f': {detail}' if detail else ''})"
