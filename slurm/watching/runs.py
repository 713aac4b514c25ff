"""Lists all runs in a folder with their status, for ``runs`` and the exporter."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.plan import Run
from routenator.errors import InputError, RoutenatorError
from slurm.submission.queue import QueueView, read_queue
from slurm.submission.submissions import Submission
from slurm.watching.run_status import RunStatus, StageStatus
from slurm.watching.status import StatusReader
from slurm.watching.status_view import STYLES, duration

if TYPE_CHECKING:
    from rich.console import Console

# A run that ended this long ago is no longer read: accounting may record the last task's end after its receipt.
_SETTLED_S = 60.0


@dataclass(frozen=True)
class RunEntry:
    """One run in the list.

    Attributes:
        dir: the run directory's name.
        created: when the plan was made, seconds since the epoch.
        status: None if the run cannot be read.
        problem: why not.
    """

    dir: str
    created: float
    status: RunStatus | None
    problem: str | None = None

    @property
    def state(self) -> str:
        return self.status.state if self.status else "unreadable"

    @property
    def at_work(self) -> StageStatus | None:
        """The current stage; if the run ended early, the stage at which it stopped."""
        if self.status is None or self.status.state == "done":
            return None
        return next((stage for stage in self.status.stages if stage.state != "done"), None)

    @property
    def rows(self) -> int:
        """Rows of the data set; before the merge, rows generated."""
        counts = {stage.stage: stage.rows for stage in self.status.stages} if self.status else {}
        return counts.get("merge") or counts.get("generate", 0)

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as JSON-compatible values."""
        stage = self.at_work
        return {
            "run": self.dir,
            "name": self.status.name if self.status else None,
            "state": self.state,
            "created": self.created,
            "stage": stage.stage if stage else None,
            "fraction": stage.fraction if stage else None,
            "eta_s": stage.eta_s if stage else None,
            "failed": sum(item.failed for item in self.status.stages) if self.status else 0,
            "rows": self.rows,
            "problem": self.problem,
        }


class RunsReader:
    """Reads all runs in a folder repeatedly, with one squeue and one sacct call for all of them.

    A run that has ended is read again only if something was submitted since.

    Args:
        root: the folder of run directories.
        ask: function that queries the queue.

    Raises:
        InputError: there is no such folder.
    """

    def __init__(self, root: Path, ask: Callable[[Sequence[Submission]], QueueView] = read_queue) -> None:
        if not root.is_dir():
            raise InputError("no such folder", file=root, key="--root", found="nothing", expected="a folder of runs")
        self.root = root
        self._ask = ask
        self._readers: dict[str, StatusReader] = {}
        self._ended: dict[str, tuple[tuple[int, ...], float]] = {}  # marks, and when it was first seen to have ended
        self._settled: dict[str, tuple[tuple[int, ...], RunEntry]] = {}

    def read(self) -> list[RunEntry]:
        """Return every run, newest first."""
        entries: list[RunEntry] = []
        going: dict[str, tuple[StatusReader, tuple[int, ...]]] = {}
        for plan in sorted(self.root.glob("*/plan.json")):
            name = plan.parent.name
            marks = _marks(plan.parent)
            if name in self._settled and self._settled[name][0] == marks:
                entries.append(self._settled[name][1])
                continue
            try:
                if name not in self._readers:
                    self._readers[name] = StatusReader(Run.load(plan.parent), failures=0, tails=0)
            except RoutenatorError as error:
                entries.append(RunEntry(name, plan.stat().st_mtime, None, str(error)))
                continue
            going[name] = (self._readers[name], marks)
        queue = self._ask([item for reader, _ in going.values() for item in reader.submissions()])
        for name, (reader, marks) in going.items():
            try:
                status = reader.read(queue)
            except RoutenatorError as error:
                entries.append(RunEntry(name, (self.root / name / "plan.json").stat().st_mtime, None, str(error)))
                continue
            entry = RunEntry(name, status.created, status)
            entries.append(entry)
            if not status.ended:
                self._ended.pop(name, None)
            elif self._ended.setdefault(name, (marks, status.time))[0] != marks:
                self._ended[name] = (marks, status.time)
            elif status.time - self._ended[name][1] >= _SETTLED_S:
                self._settled[name] = (marks, entry)
        return sorted(entries, key=lambda entry: (-entry.created, entry.dir))


def runs_table(entries: Sequence[RunEntry], console: Console) -> None:
    """Print the list."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", "state", "age", "stage", "done", "failed", "rows", "ETA"):
        table.add_column(
            name,
            justify="left" if name in ("run", "state", "stage") else "right",
            no_wrap=name != "run",
            overflow="fold",
        )
    now = time.time()
    for entry in entries:
        stage = entry.at_work
        failed = sum(item.failed for item in entry.status.stages) if entry.status else 0
        table.add_row(
            entry.dir,
            Text(entry.state, style=STYLES.get(entry.state, "dim")),
            duration(max(now - entry.created, 0)),
            stage.stage if stage else "-",
            f"{stage.fraction:.0%}" if stage else "-",
            f"{failed:,}" if failed else "-",
            f"{entry.rows:,}" if entry.rows else "-",
            duration(stage.eta_s) if stage else "-",
        )
    console.print(table)
    for entry in entries:
        if entry.problem:
            console.print(f"{entry.dir}: {entry.problem}", style="yellow", markup=False, highlight=False)
    problems = {entry.status.problem for entry in entries if entry.status and entry.status.problem}
    for problem in sorted(problems):
        console.print(f"the queue could not be read: {problem}", style="yellow", markup=False, highlight=False)


def _marks(run: Path) -> tuple[int, ...]:
    """Return file times that change with every submission and every local driver."""
    found = []
    for path in (run / "submissions.jsonl", run / "driver.json"):
        try:
            found.append(path.stat().st_mtime_ns)
        except FileNotFoundError:
            found.append(0)
    return tuple(found)
