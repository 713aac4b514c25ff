"""Main function of a process started by an experiment: cleans up on SIGTERM, and reports errors in one line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

from routenator.errors import RoutenatorError
from routenator.quiet import quiet_libraries
from slurm.worker.stage_task import drop_inherited

# Starts a module of the experiment's copy of the code, which PYTHONPATH names; without -P a copy in the current folder
# would come first.
MODULE = (sys.executable, "-P", "-m")


def child(work: Callable[[Path], None]) -> int:
    """Call ``work`` on the folder named on the command line.

    SIGTERM exits in an orderly way: training writes a checkpoint and Ray stops its processes.

    Returns:
        Exit code.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    quiet_libraries()
    drop_inherited()
    try:
        work(Path(sys.argv[1]))
    except RoutenatorError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0
