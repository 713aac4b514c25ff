"""One toy for all stages. Files in $TOY_CONTROL control single shards: ``STAGE-SHARD.fail``, ``.kill``, ``.sleep`` (s).

``.hold`` keeps a shard from finishing as long as the file exists; ``.unheard`` lets the warning signal kill its process
once; ``.eat`` lets it use as many MiB of memory.
"""

import json
import os
import signal
import time
from pathlib import Path

from jobs.stages import STAGES
from jobs.task import Task

VERSION = 1
STEP_S = 0.1


def asked(task: Task, what: str) -> Path | None:
    path = Path(os.environ["TOY_CONTROL"]) / f"{task.stage}-{task.index}.{what}"
    return path if path.exists() else None


def run(task: Task) -> None:
    if task.is_done():
        return
    print(f"toy {task.stage} {task.index} attempt {task.attempt} job {task.job}", flush=True)
    for need in STAGES[task.stage].needs:
        if need in task.run.plan.stages:
            list(task.input_receipts(need))
    if asked(task, "fail"):
        raise ValueError(f"told to fail at {task.stage} {task.index}")
    if asked(task, "kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if path := asked(task, "unheard"):
        path.unlink()
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGUSR2)
    if asked(task, "leak"):
        import subprocess

        subprocess.Popen(["sleep", "600"], start_new_session=True)
    if path := asked(task, "eat"):
        eaten = b"x" * (int(path.read_text()) << 20)
        print(f"ate {len(eaten)} bytes", flush=True)
    if path := asked(task, "sleep"):
        steps = int(float(path.read_text()) / STEP_S)
        chunks = task.work_dir
        for step in range(steps):
            if not (chunks / f"{step}").exists():
                time.sleep(STEP_S)
                (chunks / f"{step}").write_text(str(task.attempt))
            task.progress(step + 1, steps)
    while asked(task, "hold"):
        time.sleep(STEP_S)
    output = task.output(".json")
    output.write_text(json.dumps({"stage": task.stage, "index": task.index}))
    for name in ("dataset", "adapter", "report"):
        (task.dir / name).mkdir(exist_ok=True)
    task.commit({"data": output}, rows=10)
