"""Reads the losses of a training, finished or running, and draws them as a line of blocks."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

_BLOCKS = "▁▂▃▄▅▆▇█"
_MOST_BYTES = 4 << 20  # of a file that is read at each refresh; of a longer one the end


def read_losses(stage_dir: Path) -> list[tuple[int, float]]:
    """Return step and loss of each line of training.jsonl, or of the newest attempt's; empty without any."""
    files = [stage_dir / "training.jsonl"]
    if not files[0].exists():
        files = sorted(stage_dir.glob("attempt-*/metrics.jsonl"), key=_written)[-1:]
    found = []
    for file in files:
        try:
            with open(file, "rb") as source:
                source.seek(max(0, file.stat().st_size - _MOST_BYTES))
                text = source.read()
        except FileNotFoundError:  # an attempt that has ended meanwhile
            continue
        for line in text.decode(errors="replace").splitlines():
            try:
                value = json.loads(line)
                found.append((int(value["step"]), float(value["loss"])))
            except (ValueError, KeyError, TypeError):  # cut short, or the line of an evaluation
                continue
    return found


def _written(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def loss_line(losses: Sequence[tuple[int, float]], width: int) -> str:
    """Draw losses: the first, blocks for the means of as many parts as fit, and the mean of the last part.

    Args:
        losses: step and loss, in order; at least one.
        width: columns.
    """
    values = [loss for _, loss in losses]
    head = f"loss {values[0]:.3g} "
    parts = max(1, min(len(values), width - len(head) - len(f" 0.0000 at step {losses[-1][0]:,}")))
    edges = [len(values) * number // parts for number in range(parts + 1)]
    means = [sum(values[low:high]) / (high - low) for low, high in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    drawn = "".join(_BLOCKS[round((mean - low) * scale)] for mean in means)
    return f"{head}{drawn} {means[-1]:.3g} at step {losses[-1][0]:,}"
