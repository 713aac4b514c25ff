"""Decides when somebody who waits for a run has waited long enough for a stuck one."""

from __future__ import annotations

import time
from collections.abc import Callable

from slurm.watching.run_status import RunStatus

EXIT_STUCK = 3
# A partition that is down for maintenance, or a job that a colleague holds to let another pass, is often back by then.
PATIENCE_MINUTES = 5.0


class Patience:
    """Ends a wait once the run has ended, or was stuck at every look for a while.

    Args:
        minutes: how long it may be stuck.
        clock: seconds; only differences count.
    """

    def __init__(self, minutes: float = PATIENCE_MINUTES, clock: Callable[[], float] = time.monotonic) -> None:
        self.minutes = minutes
        self._clock = clock
        self._since: float | None = None

    def over(self, status: RunStatus) -> bool:
        """Whether to stop waiting; call it with each status."""
        if status.state != "stuck":
            # A look during which the queue could not be read says nothing about it.
            self._since = self._since if status.state == "unknown" else None
            return status.ended
        self._since = self._clock() if self._since is None else self._since
        return self._clock() - self._since >= self.minutes * 60


def exit_code(status: RunStatus) -> int:
    """Return 0 if the run is done, 3 if it is stuck, 1 if it ended otherwise."""
    return 0 if status.state == "done" else EXIT_STUCK if status.state == "stuck" else 1
