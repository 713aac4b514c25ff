"""Reads Slurm's descriptions of GPUs, whose types may begin with a digit: ``gpu:3090:4``, ``gpu:1g.10gb:7``."""

from __future__ import annotations

import re
from collections import Counter

# What follows a count, e.g. (S:0-1) or (IDX:0,3); it may contain commas and colons.
_DETAIL = re.compile(r"\([^)]*\)")


def gpus_by_type(gres: str) -> dict[str, int]:
    """Return type -> GPUs of a comma-separated list; ``gpu`` where it names no type.

    Reads a node's resources (``gpu:a100:4(S:0-1)``), what is in use of them, and a job's request
    (``gres:gpu:a100:2``, in newer versions ``gres/gpu:a100:2``).
    """
    return _read(gres)[0]


def gpu_count(tres: str) -> int | None:
    """Return the number of GPUs in a job's resources, ``cpu=2,gres/gpu=4,gres/gpu:a100=4``; None if none are named.

    A cluster may account for GPUs as a whole, by type, or both; the total is not added to its parts.
    """
    found, total = _read(tres)
    return total if total is not None else sum(found.values()) if found else None


def _read(text: str) -> tuple[dict[str, int], int | None]:
    """Return the GPUs by type, and the number that ``gres/gpu=`` states for all types together."""
    found: Counter[str] = Counter()
    total = None
    for item in _DETAIL.sub("", text).split(","):
        name, _, stated = item.strip().partition("=")
        parts = name.removeprefix("gres/").removeprefix("gres:").split(":")
        if parts[0] != "gpu":
            continue
        if stated and len(parts) == 1:
            total = int(stated)
            continue
        if stated:
            parts.append(stated)
        # The last word is a count only if it is a number. Without a count there is one.
        count = int(parts.pop()) if len(parts) > 1 and parts[-1].isdigit() else 1
        found[parts[1] if len(parts) > 1 else "gpu"] += count
    return dict(found), total
