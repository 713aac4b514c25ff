"""Tells which setting to raise when a task lacked memory."""

from __future__ import annotations

import re
from pathlib import Path

from routenator.config import RunConfig
from slurm.submission.options import resources
from slurm.watching.logs import tail

_LINES = 50
# Lines of slurmstepd and srun about a task whose process was killed for its memory, by the kernel or by Slurm itself. A
# task that writes such words of its own does not begin its line with their names.
_KILLED = re.compile(
    r"^(?:slurmstepd|srun)\b.*(?:oom[-_ ]kill|out-of-memory handler|Out Of Memory|exceeded (?:job )?memory limit)",
    re.IGNORECASE | re.MULTILINE,
)


def memory_advice(config: RunConfig, stage: str, reason: str, log: Path | None) -> str | None:
    """Return advice for a task that ran out of memory, or may have; None for any other failure.

    Slurm's state says so only if it limits memory by cgroups and the kill hit the job's script. If it hit the task,
    srun ends with code 1 and the job is just FAILED; if it hit a child of the task, the task reports an error of its
    own. A line of slurmstepd in the log of the attempt is the only sign then.

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
    if log is not None and _KILLED.search("\n".join(tail(log, _LINES))):
        return f"it ran out of memory: {raised}"
    if "SIGKILL" not in reason and "signal 9" not in reason:
        return None
    return f"SIGKILL often comes from the kernel when memory is short; if so, {raised}"
