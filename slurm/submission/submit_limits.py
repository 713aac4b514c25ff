"""Explains a limit on submitted jobs (``MaxSubmitJobs``) that sbatch ran into."""

from __future__ import annotations

import os

from routenator.trust import user_name
from slurm.submission.client import ask

_MESSAGES = ("job submit limit", "MaxSubmit")


def advice(said: str, stage: str, wanted: int, cluster: str | None = None) -> str:
    """Return what to do about a limit on submitted jobs; an empty text if this was another error.

    Args:
        said: what sbatch said.
        stage: the stage that was refused.
        wanted: tasks that the call wanted to submit, up to and including this stage.
    """
    if not any(message in said for message in _MESSAGES):
        return ""
    limits = "; ".join(submit_limits(cluster)) or "see `sacctmgr show assoc` and `sacctmgr show qos`"
    return (
        f". Up to {stage} this call wanted {wanted:,} tasks in the queue, and the limit counts every task of an array "
        f"({limits}). With cluster.stages.{stage}.shards_per_task=N one task works through N shards"
    )


def submit_limits(cluster: str | None = None) -> list[str]:
    """Return this user's limits on submitted jobs, as far as accounting tells."""
    user = user_name(os.geteuid())
    where = [f"user={user}", *([f"cluster={cluster}"] if cluster else [])]
    found = []
    for title, query in (
        ("account", ["assoc", *where, "format=Account,MaxSubmitJobs,GrpSubmitJobs"]),
        ("qos", ["qos", "format=Name,MaxSubmitJobsPerUser,MaxSubmitJobsPerAccount,GrpSubmitJobs"]),
    ):
        code, text = ask(["sacctmgr", "--noheader", "--parsable2", "show", *query])
        for line in text.splitlines() if code == 0 else []:
            name, *numbers = line.split("|")
            if limits := [int(number) for number in numbers if number.isdigit()]:
                found.append(f"{title} {name}: {min(limits):,}")
    return found
