"""First code of a Slurm task: ``python -m slurm.worker.start LOGS TASKS``. Catches the warning signal, then imports.

The imports that follow (``slurm.worker.array_task``) take seconds on a slow file system, and a signal without a handler
kills the process. The warning may arrive that early: before a short time limit, on preemption, or from
``scancel --signal``. So nothing but the standard library is imported before the handler is set.
"""

import os
import signal
import sys
import types

# Pydantic reads a file of every installed package in search of plugins, and we use none.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

early: list[int] = []


def note(number: int, frame: types.FrameType | None) -> None:
    """Record the signal until the task installs its own handler."""
    early.append(number)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, note)
    from slurm.worker.array_task import main

    main(sys.argv[1:], early)
