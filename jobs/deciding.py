"""Decides on candidates as the merge does, once for each set of files, however often an attempt is killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.scratch import Scratch
from jobs.task import Task
from routenator.dataset.ambiguity import Ambiguity
from routenator.dataset.decisions import Decisions
from routenator.dataset.merge import decide
from routenator.dataset.near import row_bytes
from routenator.dataset.sources import Source
from routenator.dataset.spill import check_spill
from routenator.domain.golden import GoldenExample
from routenator.evaluation.embed import sentence_embedder
from routenator.files import digest
from routenator.models import cache_folder, resolve_model


def decided(
    task: Task,
    scratch: Scratch,
    own: Path,
    sources: list[Source],
    strata: list[dict[str, Any]],
    golden: list[GoldenExample],
    progress: Callable[[int], None],
) -> Decisions:
    """Return the decision on every candidate, from an earlier attempt if it got that far with the same files.

    Args:
        scratch: holds the finished step of an earlier attempt.
        own: this attempt's folder in it.
        sources: all candidates.
        strata: rows of strata.json.
        golden: the golden set.
        progress: called with the candidates done, counting all passes.

    Raises:
        InputError: ``merge.spill_dir`` cannot be written or has too little room.
    """
    config = task.config
    rows = sum(source.rows for source in sources)
    # A shard's file name includes its attempt's token, so another attempt's files have other names.
    step = scratch.step(
        "decisions", digest([[str(source.path), source.rows, source.path.stat().st_size] for source in sources])
    )
    if not step.is_dir():
        minhash = config.merge.near_duplicates == "minhash"
        check_spill(scratch.root, "merge.spill_dir", rows, row_bytes(config.merge.near_threshold) if minhash else 0)
        made = decide(
            sources,
            strata,
            [example.query for example in golden],
            own,
            near_duplicates=config.merge.near_duplicates,
            near_threshold=config.merge.near_threshold,
            ambiguity=_ambiguity(task),
            seed=config.seed,
            backfill=config.merge.backfill,
            progress=lambda done, of: progress(done),
        )
        made.save()
        scratch.finish(made.folder, step)
    return Decisions.load(step)


def _ambiguity(task: Task) -> Ambiguity | None:
    """Return the ambiguity check if it is configured; the embedder is loaded on first use."""
    merge = task.config.merge
    if merge.ambiguity == "off":
        return None
    embed = sentence_embedder(resolve_model(task.config.model.embedder, cache_folder(task.config.cache)))
    return Ambiguity(embed, merge.ambiguity, merge.ambiguity_neighbours)
