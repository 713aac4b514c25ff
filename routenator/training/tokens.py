"""Examples as token ids in flat files, written once and memory-mapped by every process, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routenator.chat.prompts import PromptFormat
from routenator.domain.calls import read_calls
from routenator.domain.dates import asked
from routenator.errors import InputError
from routenator.files import read_json, write_json
from routenator.schemas import NEWER_COLUMNS

if TYPE_CHECKING:
    import numpy as np
    import torch

IGNORED = -100  # label that PyTorch's cross entropy skips
COLUMNS = ("query", "calls", "reply", "hidden", "today")  # of a data set's examples, as the model is trained on them
_ROWS = 4096
_NEXT_CALL = '}, {"name": '  # between two calls; within a call's arguments it does no harm here


@dataclass(frozen=True)
class TokenSet:
    """Examples as tokens.

    Attributes:
        ids: int32 of shape (tokens,): prompt and answer of each example, one after the other.
        starts: int64 of shape (examples + 1,): offset of each example in ``ids``, then the total.
        prompts: int32 of shape (examples,): number of tokens of each prompt.
    """

    ids: np.ndarray
    starts: np.ndarray
    prompts: np.ndarray

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        """Token ids and labels; labels of the prompt are ``IGNORED``, so the loss is on the answer alone."""
        ids = self.ids[self.starts[index] : self.starts[index + 1]].tolist()
        prompt = int(self.prompts[index])
        return {"input_ids": ids, "labels": [IGNORED] * prompt + ids[prompt:]}

    @property
    def lengths(self) -> list[int]:
        """Number of tokens of each example."""
        import numpy as np

        return [int(n) for n in np.diff(self.starts)]


def write_tokens(files: Sequence[Path], prompt: PromptFormat, max_length: int, folder: Path) -> None:
    """Tokenise examples and write the flat files.

    Args:
        files: parquet files with ``COLUMNS``.
        prompt: format of prompts and replies.
        max_length: maximum tokens of prompt and reply together.
        folder: output folder.

    Raises:
        InputError: an example is longer than ``max_length`` (examples are never truncated), or there are none.
    """
    import numpy as np
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    lengths: list[int] = []
    prompts: list[int] = []
    with open(folder / "ids.i32", "wb") as out:
        for file in files:
            parquet = pq.ParquetFile(file)
            there = [name for name in COLUMNS if name in parquet.schema_arrow.names or name not in NEWER_COLUMNS]
            for batch in parquet.iter_batches(_ROWS, columns=there):
                for row in batch.to_pylist():
                    query, hidden = asked(row["query"], row.get("today")), row["hidden"] or ()
                    question = prompt.prompt_ids(query, hidden)
                    ids = question + prompt.reply_ids(query, read_calls(row["calls"]), row["reply"] or "", hidden)
                    if len(ids) > max_length:
                        raise InputError(
                            "an example is longer than train.max_length; examples are never truncated",
                            file=file,
                            key="train.max_length",
                            found=f"{len(ids)} tokens ({len(question)} of them prompt): {query[:80]}",
                            expected=f"at most {max_length} tokens; raise train.max_length, "
                            "or use train.prompt=compact",
                        )
                    out.write(np.asarray(ids, dtype=np.int32).tobytes())
                    lengths.append(len(ids))
                    prompts.append(len(question))
    if not prompts:
        raise InputError("there are no examples to train on", file=files[0] if files else None, found="0 rows")
    np.save(folder / "starts.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    np.save(folder / "prompts.npy", np.asarray(prompts, dtype=np.int32))
    write_json(folder / "tokens.json", {"examples": len(prompts), "tokens": sum(lengths)})


def has_several(files: Sequence[Path]) -> bool:
    """Whether an example has several calls."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    return any(
        pc.any(pc.match_substring(batch.column(0), _NEXT_CALL)).as_py()
        for file in files
        for batch in pq.ParquetFile(file).iter_batches(columns=["calls"])
    )


def read_tokens(folder: Path) -> TokenSet:
    """Memory-map the files of ``write_tokens``."""
    import numpy as np

    total = read_json(folder / "tokens.json")["tokens"]
    ids = np.memmap(folder / "ids.i32", dtype=np.int32, mode="r", shape=(total,))
    return TokenSet(ids, np.load(folder / "starts.npy"), np.load(folder / "prompts.npy"))


def collate(rows: Sequence[dict[str, list[int]]], padding: int) -> dict[str, torch.Tensor]:
    """Build a batch, padded on the right to its longest example.

    Returns:
        int64 tensors of shape (rows, longest): input_ids, attention_mask, labels.
    """
    import torch

    longest = max(len(row["input_ids"]) for row in rows)

    def padded(key: str, fill: int) -> torch.Tensor:
        return torch.tensor([row[key] + [fill] * (longest - len(row[key])) for row in rows])

    mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows])
    return {"input_ids": padded("input_ids", padding), "attention_mask": mask, "labels": padded("labels", IGNORED)}


class LengthGrouped:
    """A sampler with a new order each epoch that puts examples of similar length together, to reduce padding.

    The order depends only on seed and epoch. transformers' own sampler draws from the process's global generator, which
    dropout on the CPU advances differently in each process, so the processes would no longer agree on one order.

    Args:
        lengths: number of tokens of each example.
        batch: examples per optimiser step, over all processes.
        seed: seed of the order.
    """

    def __init__(self, lengths: list[int], batch: int, seed: int) -> None:
        self.lengths = lengths
        self.batch = batch
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        import torch
        from transformers.trainer_pt_utils import get_length_grouped_indices

        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        order: list[int] = get_length_grouped_indices(self.lengths, self.batch, generator=generator)
        # Within each group of batches, that order goes from long to short. Shuffled batches make steps comparable.
        batches: list[Any] = [order[low : low + self.batch] for low in range(0, len(order), self.batch)]
        last = [batches.pop()] if len(batches[-1]) < self.batch else []
        for position in [*torch.randperm(len(batches), generator=generator).tolist()]:
            yield from batches[position]
        for batch in last:
            yield from batch
