"""Submits a script and finds out what became of it.

sbatch's exit code and output prove little: it may time out after the controller took the job, and a site's wrapper may
print lines of its own. Whenever there is a doubt, the queue is asked by the job's name, which no other job has.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from routenator.errors import RoutenatorError
from slurm.submission import queue
from slurm.submission.answers import UnreadableError
from slurm.submission.client import call, no_answer, of_cluster

_PARSABLE = re.compile(r"(\d+)(?:;([\w.-]+))?$")


class RefusedError(RoutenatorError):
    """sbatch or scancel refused a job; nothing of it is in the queue."""


class UncertainError(RefusedError):
    """Neither sbatch nor the queue said whether a job was accepted; ``name`` is its name."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Accepted:
    """A job that Slurm has taken.

    Attributes:
        job: its id.
        name: its name.
        cluster: the cluster that took it, if it is not the default one.
    """

    job: str
    name: str
    cluster: str | None = None


def submit(script: Path, name: str, environment: Mapping[str, str], cluster: str | None = None) -> Accepted:
    """Submit a script.

    Args:
        name: the job's name, which no other job has.
        environment: what sbatch sees and passes on to the job.
        cluster: a cluster other than the default.

    Raises:
        RefusedError: Slurm did not take the job.
        UncertainError: nobody said whether it did.
    """
    try:
        code, out, text = call(["sbatch", "--parsable", *of_cluster(cluster), str(script)], environment)
    except OSError as error:
        raise RefusedError(f"sbatch: {error}") from None
    said = text.strip() or out.strip()
    lines = [line.strip() for line in out.splitlines() if line.strip()]
    if code == 0 and len(lines) == 1 and (found := _PARSABLE.match(lines[0])):
        return Accepted(found[1], name, found[2] or cluster)
    return _found(
        name, cluster, said or f"exit status {code}", definite=code != 0 and bool(said) and not no_answer(said)
    )


def _found(name: str, cluster: str | None, said: str, definite: bool) -> Accepted:
    """Find out from the queue whether a job was accepted, and its id.

    Args:
        said: what sbatch said.
        definite: whether that is the controller's refusal, which needs no second look.
    """
    for look in range(1 if definite else 2):
        if look:
            time.sleep(queue.SECOND_LOOK_S)  # the controller may still be working on it
        try:
            jobs = queue.jobs_named([name], cluster)
        except UnreadableError as error:
            raise UncertainError(f"{said}; and {error}", name) from None
        if name in jobs:
            return Accepted(jobs[name], name, cluster)
    raise RefusedError(said if definite else f"{said} (Slurm has no such job, asked twice)")
