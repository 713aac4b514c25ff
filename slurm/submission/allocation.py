"""What a process inherits when it runs inside a Slurm allocation, and what of it may reach the jobs and tasks that it
starts.
"""

from __future__ import annotations

import os

# Of an inherited allocation nothing may reach a new job or a local task; how to reach the controller must.
_DROPPED = ("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_")
_KEPT = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT"})


def drop_inherited() -> dict[str, str]:
    """Remove the variables of an allocation that this process may be in from its environment.

    Returns:
        What was removed.
    """
    saved = {name: value for name, value in os.environ.items() if name.startswith(_DROPPED) and name not in _KEPT}
    for name in saved:
        del os.environ[name]
    return saved
