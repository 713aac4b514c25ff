"""Says that a run keeps its snapshot of a domain that has changed since."""

from __future__ import annotations

from pathlib import Path

from jobs.plan import Run
from routenator.domain.fingerprint import domain_fingerprint
from routenator.errors import InputError
from routenator.place import command_line


def domain_remarks(run: Run) -> list[str]:
    """Return lines for ``retry`` if the run's domain differs from the run's snapshot of it; none if it is gone."""
    source = Path(run.config.domain)
    try:
        changed = source.is_dir() and domain_fingerprint(source) != run.plan.domain_sha256
    except (InputError, OSError):
        return []
    if not changed:
        return []
    other = [] if run.config.run_dir is None else ["run_dir=OTHER"]
    command = command_line("run", run.path / "config.yaml", *other)
    return [
        f"{source} has changed since this run was planned; `retry` keeps the run's snapshot, {run.domain_dir}",
        f"for a run with the changed domain: {command}",
    ]
