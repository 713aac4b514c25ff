"""What the cluster allows: how long an array may be, how many tasks its controller keeps."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from dataclasses import dataclass

from routenator.errors import RoutenatorError

MAX_ARRAYS = 4  # of one stage, where the shards of a task are chosen here
JOBS_PART = 4  # of the tasks that the controller keeps, one stage takes at most this part: a quarter


class SubmitError(RoutenatorError):
    """sbatch refused a job, or the cluster could not be asked."""


@dataclass(frozen=True)
class Limits:
    """What the cluster allows.

    Attributes:
        array: tasks of one array: ``MaxArraySize`` (ids stay below it) and ``max_array_tasks``.
        jobs: tasks that the controller keeps, of all users: ``MaxJobCount``.
    """

    array: int
    jobs: int

    @property
    def tasks(self) -> int:
        """Tasks of one stage: a few arrays, and a part of what the controller keeps."""
        return max(1, min(self.array * MAX_ARRAYS, self.jobs // JOBS_PART))


def ask_limits() -> Limits:
    """The cluster's limits, by one call for the whole life of this process: it takes as long as submitting a job.

    Raises:
        SubmitError: scontrol does not answer.
    """
    return _ask_limits(os.environ.get("SLURM_CONF"))


@functools.cache
def _ask_limits(conf: str | None) -> Limits:
    """``conf`` says which cluster."""
    try:
        done = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, timeout=60, check=True)
    except subprocess.CalledProcessError as error:
        raise SubmitError(f"scontrol show config: {error.stderr.strip()}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SubmitError(f"scontrol show config: {error}") from None
    return parse_limits(done.stdout)


def planned_limits() -> Limits:
    """``ask_limits``, or Slurm's defaults where no Slurm answers: a script can be read anywhere."""
    try:
        return ask_limits()
    except SubmitError:
        return parse_limits("")


def parse_limits(text: str) -> Limits:
    """The limits in the text of ``scontrol show config``; Slurm's defaults where it does not say them."""
    size = re.search(r"^MaxArraySize\s*=\s*(\d+)", text, re.MULTILINE)
    tasks = re.search(r"^SchedulerParameters\s*=.*\bmax_array_tasks=(\d+)", text, re.MULTILINE)
    limits = [int(size[1]) if size else 1001, *([int(tasks[1])] if tasks else [])]
    jobs = re.search(r"^MaxJobCount\s*=\s*(\d+)", text, re.MULTILINE)
    return Limits(max(min(limits), 1), int(jobs[1]) if jobs else 10_000)
