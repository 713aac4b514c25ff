"""A process that an experiment starts: it cleans up when it is told to end, and reports an error in one line."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from routenator.errors import RoutenatorError
from slurm.worker.stage_task import drop_inherited


def child(work: Callable[[Path], None]) -> int:
    """``work`` on the folder that the command line names.

    SIGTERM leaves in order: training keeps a checkpoint, Ray ends its processes.

    Returns:
        Exit code.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # as in launch.py
    drop_inherited()
    try:
        work(Path(sys.argv[1]))
    except RoutenatorError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0
