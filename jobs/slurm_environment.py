"""Slurm's environment variables: which of them may reach its commands, a new job, or a local task.

Most of Slurm's commands take defaults from the environment (``SQUEUE_PARTITION``, ``SACCT_FORMAT``, ``SLURM_CLUSTERS``
...). What a command prints for the user is then narrower than, or different from, what we parse.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

# These locate the controller and authenticate the caller.
KEPT = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT"})
_SLURMS = re.compile(
    r"S(LURM|QUEUE|ACCT|ACCTMGR|ALLOC|ATTACH|BATCH|CANCEL|CONTROL|DIAG|INFO|PRIO|REPORT|RUN|SHARE|STAT)_"
)


def is_slurms(name: str) -> bool:
    """Whether one of Slurm's commands takes a default or an allocation from this variable."""
    return name not in KEPT and _SLURMS.match(name) is not None


def reading_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment for a Slurm command whose output we read: nothing in it narrows or reformats that."""
    kept = {name: value for name, value in environment.items() if not is_slurms(name)}
    # The first keeps squeue from truncating the expression of a large array; the second makes times plain numbers.
    return {**kept, "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "%s"}
