"""Calls Slurm's commands: nothing in the environment narrows an answer, and only a whole answer counts as one.

A command may fail and exit 0, with the error on stderr; that is no answer. One argument of a command has at most
128 KiB, so thousands of job ids are cut into several calls.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence

from jobs.slurm_environment import reading_environment
from routenator.trust import user_name

TIMEOUT_S = 60
MAX_CHARS = 60_000  # of job ids in one call
_ERROR = re.compile(r"\berror\b|\bfatal\b", re.IGNORECASE)


def ask(command: Sequence[str]) -> tuple[int, str]:
    """Run a Slurm command that only reads.

    Returns:
        Exit code, and stdout on success or stderr on failure. A command that reports an error and exits 0 has failed.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, env=reading_environment(), check=False,
            errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 1, f"no answer in {TIMEOUT_S} seconds"
    except OSError as error:
        return 1, str(error)
    if done.returncode == 0 and _ERROR.search(done.stderr):
        return 1, done.stderr
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


def of_cluster(cluster: str | None) -> list[str]:
    """Return the option that sends a command to another cluster; none for the default one."""
    return [f"--clusters={cluster}"] if cluster else []


def cut(ids: Iterable[str]) -> Iterator[list[str]]:
    """Cut job ids into parts, each short enough for one call."""
    part: list[str] = []
    length = 0
    for one in ids:
        if part and length + len(one) + 1 > MAX_CHARS:
            yield part
            part, length = [], 0
        part.append(one)
        length += len(one) + 1
    if part:
        yield part


def scancel(jobs: Iterable[str], *options: str, cluster: str | None = None) -> str | None:
    """Cancel jobs or tasks. One that is already gone, for example removed by Slurm because it could not start, is fine.

    Returns:
        scancel's errors other than about jobs that are gone, or None.
    """
    problems = [_scancel([*options, *of_cluster(cluster), *part]) for part in cut(jobs)]
    return "\n".join(filter(None, problems)) or None


def scancel_named(name: str, cluster: str | None = None) -> str | None:
    """Cancel this user's jobs of a name that no other job has; as ``scancel``."""
    return _scancel([f"--name={name}", f"--user={user_name(os.geteuid())}", *of_cluster(cluster)])


def _scancel(arguments: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(
            ["scancel", *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, env=reading_environment(),
            check=False, errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer in {TIMEOUT_S} seconds"
    except OSError as error:
        return str(error)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    said = [line for line in lines if "Invalid job id" not in line]
    if done.returncode and not lines:
        return f"exit status {done.returncode}"
    return "\n".join(said) if said and (done.returncode or _ERROR.search(done.stderr)) else None
