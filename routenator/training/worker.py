"""The training process, started by ``launch.py``, alone or as one of several.

python -m routenator.training.worker JOB.json
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path

from routenator.errors import InputError
from routenator.files import write_json
from routenator.quiet import quiet_libraries
from routenator.training.job import TrainingJob


def main(arguments: list[str]) -> int:
    """Run one process of a job; write an exception to ``error-RANK.json`` for the launcher."""
    quiet_libraries()
    job = TrainingJob.read(Path(arguments[0]))
    rank = int(os.environ.get("RANK", "0"))
    try:
        # Only now: it imports the libraries, some of which report on themselves while they are imported.
        importlib.import_module("routenator.training.trainer").fit(job)
    except BaseException as error:
        value = {
            "rank": rank,
            "time": time.time(),
            "kind": type(error).__name__,
            "message": str(error),
            "input": isinstance(error, InputError),
            "trace": traceback.format_exc(),
        }
        write_json(job.error_file(rank), value)
        print(json.dumps({"rank": rank, "error": f"{type(error).__name__}: {error}"}), file=sys.stderr, flush=True)
        # _exit skips cleanup that could wait for the others, which are in a collective: the launcher must see this
        # failure at once, not after their timeout.
        os._exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
