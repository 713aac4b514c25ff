"""Follows a job that serves a model: where it stands until the server answers, and its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from jobs.plan import Run
from routenator.errors import StageError
from slurm.submission.answers import ABSENT
from slurm.submission.client import scancel
from slurm.submission.queue import Looks, QueueView, another_look, read_queue
from slurm.submission.submissions import Submission
from slurm.watching.logs import tail
from slurm.watching.shard_state import is_stuck
from slurm.watching.wait_reasons import explained
from slurm.worker.server_state import FOLDER, STAGE, ServerState, read_state

_FILE_S = 0.5  # between two looks at the server's state
_QUEUE_S = 5.0  # between two looks at the queue, which cost the controller something
# A network file system may take a while to show the server's last report to other machines.
_LAST_WORD_S = 30.0
_END_S = 120.0  # from scancel to the end of the job
_LOG_LINES = 15


@dataclass(frozen=True)
class RunServer:
    """A server of a run that waits in the queue or runs.

    Attributes:
        job: Slurm's id of its job.
        state: pending, stuck, starting, loading, ready or ending.
        reason: why it waits, as Slurm says.
        node: where it runs.
        port: on the node's loopback address; 0 until it answers.
    """

    job: str
    state: str
    reason: str = ""
    node: str = ""
    port: int = 0

    def told(self) -> str:
        """Describe it in a line."""
        if self.state in ("pending", "stuck"):
            return f"queued: {explained(self.reason, self.job)}, job {self.job}"
        where = f"on {self.node}, job {self.job}" if self.node else f"job {self.job}"
        if self.state == "ready":
            return f"serving on port {self.port} of {self.node}, job {self.job}"
        return {"starting": f"starting {where}", "loading": f"loading the model {where}"}.get(
            self.state, f"stopping {where}"
        )


def run_servers(run: Run, submissions: Iterable[Submission], queue: QueueView) -> list[RunServer]:
    """Return the servers of a run that are in the queue."""
    folders = {path.name: path for path in (run.path / FOLDER).glob("*") if path.is_dir()}
    found = []
    for item in submissions:
        if item.stage == STAGE:
            folder = next((path for name, path in folders.items() if item.name.endswith(name[:8])), None)
            server = _server(item, queue, read_state(folder) if folder else None)
            found += [server] if server is not None else []
    return found


def _server(job: Submission, queue: QueueView, said: ServerState | None) -> RunServer | None:
    """Join the queue's answer and the server's own report; None for a server that is not known to be in the queue."""
    entry = queue.entry(job)
    if entry is None or not entry.live:
        return None
    if entry.waiting:
        return RunServer(job.job, "stuck" if is_stuck(entry) else "pending", entry.reason or entry.state.lower())
    if entry.state == "COMPLETING" or (said is not None and said.state == "ended"):
        return RunServer(job.job, "ending", node=entry.nodes)
    if said is None:
        return RunServer(job.job, "starting", node=entry.nodes)
    return RunServer(job.job, said.state, node=said.node, port=said.port)


class ServerJob:
    """A server's job, followed from the login node.

    Args:
        job: its submission.
        folder: the server's folder.
        tell: prints a line about where it stands, each once.
    """

    def __init__(self, job: Submission, folder: Path, tell: Callable[[str], None]) -> None:
        self.job = job
        self.folder = folder
        self._tell = tell
        self._told = ""
        self._looks = Looks()
        self._asked = float("-inf")
        self._ended: float | None = None  # when the queue first said that the job is over

    def wait(self, stop: Event) -> ServerState | None:
        """Wait until the server answers; None if asked to stop first.

        Raises:
            StageError: it ended before.
        """
        while True:
            said = read_state(self.folder)
            if said is not None and said.state == "ready":
                return said
            self._look(said)
            if stop.wait(_FILE_S):
                return None

    def watch(self, stop: Event) -> None:
        """Wait until asked to stop.

        Raises:
            StageError: the server ended before.
        """
        while True:
            self._look(read_state(self.folder))
            if stop.wait(_FILE_S * 4):
                return

    def cancel(self) -> str | None:
        """Cancel the job and wait for its end, so that nobody uses the server's folder any more.

        Returns:
            Why it may still be there, or None.
        """
        if problem := scancel([self.job.job], cluster=self.job.cluster):
            return problem
        deadline = time.monotonic() + _END_S
        while time.monotonic() < deadline:
            entry = self._queue().entry(self.job)
            if entry is not None and entry.state != ABSENT and not entry.live:
                return None
            time.sleep(_FILE_S * 2)
        return "Slurm has not ended it yet"

    def _queue(self) -> QueueView:
        return another_look(read_queue([self.job]), self._looks)

    def _look(self, said: ServerState | None) -> None:
        """Tell what is new.

        Raises:
            StageError: the server, or its job, has ended.
        """
        if said is not None and said.state == "ended":
            raise StageError(f"the server of job {self.job.job} ended: {said.reason}")
        now = time.monotonic()
        if now - self._asked < _QUEUE_S:
            return
        self._asked = now
        queue = self._queue()
        entry = queue.entry(self.job)
        if (server := _server(self.job, queue, said)) is not None:
            self._say(server.told() + (f"; log: {self.folder}/server.log" if server.state == "loading" else ""))
        elif entry is None or entry.state == ABSENT:
            self._say(f"Slurm says nothing about job {self.job.job}{f': {queue.problem}' if queue.problem else ''}")
        else:
            self._ended = self._ended if self._ended is not None else now
            if entry.state == "CANCELLED" or now - self._ended >= _LAST_WORD_S:
                how = " ".join(filter(None, [entry.state, f"({entry.reason})" if entry.reason else ""]))
                raise StageError(f"the server's job {self.job.job} ended: {how}{self._log()}")

    def _say(self, line: str) -> None:
        if line != self._told:
            self._told = line
            self._tell(line)

    def _log(self) -> str:
        """The end of what the job wrote, for an error."""
        own = self.job.log(self.folder, 0) or self.job.script_log(self.folder)
        lines = tail(own, _LOG_LINES) if own is not None else []
        return f"; {own} ends with:\n" + "\n".join(lines) if lines else ""
