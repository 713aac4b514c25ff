"""Calls Slurm's commands: nothing in the environment narrows an answer, and only a whole answer counts as one.

A command may fail and exit 0, with the error on stderr; that does not count as an answer. One argument of a command has
at most 128 KiB, so thousands of job ids are cut into several calls.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence

from jobs.slurm_environment import reading_environment
from routenator.trust import user_name

TIMEOUT_S = 60
MAX_CHARS = 60_000  # of job ids in one call
_ERROR = re.compile(r"\berror\b|\bfatal\b", re.IGNORECASE)
# After one of these the controller may still have got the request; its answer was lost.
_UNHEARD = re.compile(
    r"timed out|time out|unable to contact|connect|communicat|zero bytes|transport|try again|no answer", re.IGNORECASE
)


def call(
    command: Sequence[str], environment: Mapping[str, str] | None = None, text: str | None = None
) -> tuple[int, str, str]:
    """Run one of Slurm's commands.

    Args:
        environment: its environment; by default the one for commands whose output we read.
        text: its stdin.

    Returns:
        Exit code, stdout and stderr. If it did not answer in time, the exit code is 1, and stderr says so.

    Raises:
        OSError: it cannot be started.
    """
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, errors="replace",
            env=reading_environment() if environment is None else environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 1, "", f"no answer in {TIMEOUT_S} seconds"
    return done.returncode, done.stdout, done.stderr


def ask(command: Sequence[str]) -> tuple[int, str]:
    """Run a Slurm command that only reads.

    Returns:
        Exit code, and stdout on success or what went wrong on failure: ``squeue: Unable to contact slurm controller``.
        A command that reports an error and exits 0 has failed.
    """
    try:
        code, out, said = call(command)
    except OSError as error:
        return 1, f"{command[0]}: {error}"
    if code == 0 and _ERROR.search(said):
        code = 1
    return code, f"{command[0]}: {_unlabelled(said, command[0]) or f'exit {code}'}" if code else out


def no_answer(said: str) -> bool:
    """Whether the error is about reaching the controller, rather than the controller's own."""
    return _UNHEARD.search(said) is not None


def _unlabelled(said: str, name: str) -> str:
    """Return what a command wrote on stderr, without its name at the start of each line."""
    return re.sub(rf"^{re.escape(name)}: (error: |fatal: )?", "", said, flags=re.MULTILINE).strip()


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
        code, _, text = call(["scancel", *arguments])
    except OSError as error:
        return str(error)
    lines = [line for line in text.splitlines() if line.strip()]
    said = [line for line in lines if "Invalid job id" not in line]
    if code and not lines:
        return f"exit status {code}"
    return _unlabelled("\n".join(said), "scancel") if said and (code or _ERROR.search(text)) else None
