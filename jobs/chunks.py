"""Turns one chunk of requests into candidates and saves them as a checkpoint, together with the cost of the replies."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.inputs import read_strata
from jobs.task import Task
from routenator.domain.loader import load_domain
from routenator.files import write_atomic
from routenator.generation.generator import Generator
from routenator.models import cache_folder
from routenator.wording.composer import Composer

if TYPE_CHECKING:
    import pyarrow as pa

_SECONDS, _ENGINES = b"engine_seconds", b"engines"


@dataclass
class Cost:
    """The cost of the replies, without loading models.

    Attributes:
        seconds: total engine seconds.
        wall: the same, with each chunk's seconds divided by the number of engines running at once.
        tokens: tokens of the replies.
        prompt_tokens: tokens of the prompts.
        chunks: chunks that needed an engine.
    """

    seconds: float = 0.0
    wall: float = 0.0
    tokens: int = 0
    prompt_tokens: int = 0
    chunks: int = 0

    def add(self, path: Path) -> None:
        """Add the cost of a checkpoint."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        table = pq.read_table(path, columns=["prompt_tokens", "completion_tokens"])
        notes = table.schema.metadata or {}
        seconds = float(notes.get(_SECONDS, b"0"))
        self.seconds += seconds
        self.wall += seconds / int(notes.get(_ENGINES, b"1"))
        self.tokens += pc.sum(table["completion_tokens"]).as_py() or 0
        self.prompt_tokens += pc.sum(table["prompt_tokens"]).as_py() or 0
        self.chunks += seconds > 0

    def a_second(self, tokens: int) -> float:
        """Return tokens per second of all engines together; 0 if no engine ran."""
        return round(tokens / self.wall, 1) if self.wall else 0.0


def open_shard(task: Task) -> tuple[Generator, Composer]:
    """Return the generator and composer for a shard's chunks; loads no model yet.

    Raises:
        StageError: a shard of sample is missing.
        CorruptShardError: a file of sample differs from its receipt.
    """
    composer = Composer(load_domain(task.run.domain_dir), task.config, read_strata(task.run))
    return Generator(composer, cache_folder(task.config.cache)), composer


def write_chunk(path: Path, generator: Generator, composer: Composer, requests: pa.Table, engines: int = 1) -> None:
    """Generate a chunk's candidates and write them atomically.

    Args:
        engines: number of engines that work on this task at once.
    """
    import pyarrow.parquet as pq

    before = generator.engine_seconds
    candidates = generator.candidates(composer.details(requests))
    cost = {_SECONDS: repr(generator.engine_seconds - before), _ENGINES: str(engines)}
    buffer = io.BytesIO()
    pq.write_table(candidates.replace_schema_metadata(cost), buffer, compression="zstd")
    write_atomic(path, buffer.getvalue())
