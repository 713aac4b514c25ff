"""The training process. Started by ``launch.py``, alone or as one of several: ``python -m routenator.training.worker
JOB.json``.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from routenator.config import TrainConfig
from routenator.errors import InputError
from routenator.files import write_json
from routenator.training.job import TrainingJob

LAUNCHER_VARIABLE = "ROUTENATOR_LAUNCHER"  # process id of this node's launcher


def deepspeed_config(config: TrainConfig, cuda: bool) -> dict[str, Any]:
    """What DeepSpeed is told; sizes come from the Trainer. ``auto`` values are filled in by transformers."""
    zero: dict[str, Any] = {"stage": config.zero_stage}
    if config.zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    elif config.zero_stage in (1, 2):
        # Adapters are small: buckets sized for whole models would only cost memory, and overlap needs CUDA streams.
        zero |= {
            "overlap_comm": cuda,
            "contiguous_gradients": True,
            "reduce_bucket_size": 50_000_000,
            "allgather_bucket_size": 50_000_000,
        }
    return {
        "zero_optimization": zero,
        "bf16": {"enabled": config.bf16},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1_000_000,
    }


def main(arguments: list[str]) -> int:
    """Run one process of a job; an exception is left in ``error-RANK.json`` for the launcher."""
    job = TrainingJob.read(Path(arguments[0]))
    rank = int(os.environ.get("RANK", "0"))
    try:
        from routenator.training.trainer import fit

        fit(job)
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
        # The other processes wait in a collective; the launcher must hear of this at once, not after their time-out.
        os._exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
