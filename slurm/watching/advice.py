"""Tells which setting to raise when a task lacked memory."""

from __future__ import annotations

import re
from pathlib import Path

from routenator.config import RunConfig
from slurm.submission.options import resources
from slurm.watching.logs import tail

_LINES = 50
# What slurmstepd and srun write when the kernel has killed a process of a task for its memory.
_KILLED = re.compile(r"oom[-_ ]kill|out-of-memory handler|Out Of Memory|OOM Killed", re.IGNORECASE)


def memory_advice(config: RunConfig, stage: str, reason: str, log: Path | None) -> str | None:
    """Return advice for a task that ran out of memory, or may have; None for any other failure.

    Slurm itself says so only if it limits memory by cgroups and the kill hit the job's script. Otherwise the process
    dies of SIGKILL, and a line of slurmstepd in the log of its attempt is the only sign.

    Args:
        reason: why it failed.
        log: the log of its newest attempt, if it left one.
    """
    if config.cluster.kind != "slurm":
        return None
    extra = {**config.cluster.extra, **resources(config, stage).extra}
    if "mem" in extra:
        own = "mem" in resources(config, stage).extra
        raised = f"raise {f'cluster.stages.{stage}' if own else 'cluster'}.extra.mem (now {extra['mem']})"
    else:
        raised = f"raise cluster.stages.{stage}.memory_gib (now {resources(config, stage).memory_gib:g})"
    if reason.startswith(("OUT_OF_MEMORY", "MemoryError")):
        return raised
    if "SIGKILL" not in reason and "signal 9" not in reason:
        return None
    if log is not None and _KILLED.search("\n".join(tail(log, _LINES))):
        return f"it ran out of memory: {raised}"
    return f"SIGKILL often comes from the kernel when memory is short; if so, {raised}"
