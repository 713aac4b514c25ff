"""Checks where a run writes: characters that no part of it can quote, and what the file systems can do."""

from __future__ import annotations

from pathlib import Path

from jobs.plan import Plan
from routenator.errors import InputError
from routenator.probe import lacks
from slurm.planning.planner import planned_run

_SLURMS = {
    "%": "in the names of logs Slurm replaces % and the next letter, %j by a job's id for example",
    "\\": "Slurm takes it for a quote in the names of logs",
    "\n": "a line of a job's script ends there",
    "\r": "a line of a job's script ends there",
}
_PYTHONS = {":": "it separates the folders where Python looks for modules (PYTHONPATH)"}
_CONTAINERS = {
    ":": "it separates the two sides of a container's mount",
    ",": "it separates the mounts of a container",
}


def check_paths(plan: Plan) -> None:
    """Refuse a run directory, or a folder to mount, whose path has a character that cannot be quoted.

    Raises:
        InputError: it does.
    """
    config = plan.config
    run = "run_dir" if config.run_dir else "root"
    _refuse(str(planned_run(plan).path), run, _SLURMS | _PYTHONS)
    if config.cluster.container is not None:
        _refuse(config.root, "root", _CONTAINERS)
        _refuse(config.cache, "cache", _CONTAINERS)


def file_system_notes(plan: Plan) -> list[str]:
    """Return a sentence for each ability that the file systems of a run lack, with what is used instead.

    Raises:
        InputError: files cannot be created or renamed there.
    """
    run = planned_run(plan).path
    found = {"root": Path(plan.config.root)}
    if plan.config.run_dir:
        found["run_dir"] = run
    return [f"the file system of {path}: {sentence}" for key, path in found.items() for sentence in lacks(path, key)]


def _refuse(path: str, key: str, characters: dict[str, str]) -> None:
    for character, why in characters.items():
        if character in path:
            raise InputError(
                f"this path cannot be used: {why}",
                file=path,
                key=key,
                found=repr(character),
                expected=f"a path without {character!r}",
            )
