"""datatrove's SlurmPipelineExecutor, run by ``benchmarks/scheduling.py`` with another interpreter that has datatrove.

    PYTHON scheduling_peer.py FOLDER TASKS WORKERS ARRAY_LIMIT

Prints one line of JSON with the seconds to submit.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def nothing(data, rank: int = 0, world_size: int = 1):
    """A pipeline step that writes one byte per task, as our empty stage does.

    It is pickled without this module, so it does its own imports.
    """
    import os
    from pathlib import Path

    (Path(os.environ["PEER_OUT"]) / f"{rank:05d}.txt").write_text("x")
    return data


def main() -> None:
    from datatrove.executor import SlurmPipelineExecutor

    folder, tasks, workers, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    executor = SlurmPipelineExecutor(
        pipeline=[nothing],
        tasks=tasks,
        workers=workers,
        time="00:30:00",
        partition="main",
        qos="",
        mem_per_cpu_gb=1,
        max_array_size=limit,
        max_array_launch_parallel=True,
        job_name="peer",
        logging_dir=folder,
        env_command=f'export PATH="{Path(sys.executable).parent}:$PATH"',
    )
    began = time.perf_counter()
    executor.run()
    print(json.dumps({"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
