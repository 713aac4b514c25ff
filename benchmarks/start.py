"""CPU seconds until Python has imported what a task, ``retry`` and ``status`` need; also of another checkout, in turn.

    python benchmarks/start.py --repeat 15
    python benchmarks/start.py --repeat 15 --against PATH --task "import slurm.array_task"

CPU seconds depend little on what else the machine does, and starts taken in turn depend on it alike. Python may write
bytecode here even if the environment forbids it, and the first start of each kind is not counted: otherwise most of
what is measured would be the compilation of this project's files.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STARTS = {
    "python": "pass",
    "task": "import slurm.worker.start, slurm.worker.array_task",
    "submitit": "import submitit.core._submit",
    "retry": "import launch, slurm.commands.retry, submitit.slurm.slurm",
    "status": "import launch, slurm.watching.status, slurm.watching.status_view",
}
COMPARED = ("task", "retry", "status")


def cpu_seconds(code: str, checkout: Path = ROOT) -> float:
    """User and system seconds of a new interpreter that runs this code in a checkout."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=checkout, env=variables | {"PYTHONPATH": "."})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def in_turn(repeat: int, *starts: tuple[str, Path]) -> list[list[float]]:
    """CPU seconds of each of some starts (code, checkout), ``repeat`` times each, taken in turn."""
    rounds = [[cpu_seconds(code, checkout) for code, checkout in starts] for _ in range(repeat + 1)]
    return [list(times) for times in zip(*rounds[1:], strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=15, help="starts of each kind; the median counts")
    parser.add_argument("--against", type=Path, help="another checkout")
    for name in COMPARED:
        parser.add_argument(
            f"--{name}", default=STARTS[name], help=f"code of this start there (default: {STARTS[name]})"
        )
    options = parser.parse_args()
    for name, code in STARTS.items():
        if options.against is None or name not in COMPARED:
            (own,) = in_turn(options.repeat, (code, ROOT))
            print(f"{name:<10}{statistics.median(own):.3f} s", flush=True)
            continue
        own, other = in_turn(options.repeat, (code, ROOT), (getattr(options, name), options.against))
        ratio = statistics.median(a / b for a, b in zip(own, other, strict=True))
        print(
            f"{name:<10}{statistics.median(own):.3f} s   there {statistics.median(other):.3f} s   ratio {ratio:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
