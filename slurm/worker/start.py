"""What a Slurm task starts: ``python -m slurm.worker.start LOGS TASKS``. Its first act is to take note of the warning
signal.

The imports of what it then runs (``slurm.worker.array_task``) take seconds on a slow file system, and a signal with no
handler ends a process. Slurm's first look at a short time limit, a preemption or ``scancel --signal`` may come then as
well as at any other time.
"""

import signal
import sys
import types

early: list[int] = []


def note(number: int, frame: types.FrameType | None) -> None:
    """Handler until the task has its own."""
    early.append(number)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, note)
    from slurm.worker.array_task import main

    main(sys.argv[1:], early)
