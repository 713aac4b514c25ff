"""Processes of an experiment: their main function, which cleans up on SIGTERM and reports errors in one line, and a
process for work that imports a lot.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from routenator.errors import InputError, RoutenatorError
from routenator.place import ROOT
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


def apart(what: str, module: str, arguments: Sequence[object], file: Path) -> str:
    """Run a module in a process of its own, because it imports a lot that an experiment does not need.

    Args:
        what: what it does, for the message.
        file: the input at fault if it fails.

    Returns:
        What it prints.

    Raises:
        InputError: it failed.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, umask=0o022, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{what} failed", file=file, found=done.stderr.strip()[-400:])
    return done.stdout
