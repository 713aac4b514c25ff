"""Writes a standalone model from a base model and an adapter."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from routenator.errors import InputError
from routenator.evaluation.engines import merge_adapter
from routenator.models import check_model, resolve_model
from routenator.training.adapter import CARD, base_model_of, is_adapter, read_card


def write_full_model(adapter: Path, out: Path, base: str | None, cache: Path) -> None:
    """Merge the adapter into its base model's weights; the folder appears complete or not at all.

    The adapter's card is copied beside the weights: it says how to prompt the model.

    Args:
        adapter: folder of a LoRA adapter.
        out: a new folder.
        base: the base model, if not the one that the adapter names.
        cache: folder of prepared weights.

    Raises:
        InputError: ``adapter`` is not an adapter, or ``out`` already exists.
        StageError: the adapter does not fit the base model, or cannot be merged (a learned prompt has no weights to
            merge into).
    """
    if not is_adapter(adapter):
        raise InputError(
            "not an adapter",
            file=adapter,
            key="ADAPTER",
            found="no adapter_config.json",
            expected="a PEFT adapter's folder",
        )
    if out.exists():
        raise InputError(
            "this folder already exists", file=out, key="OUT", found="an existing path", expected="a new folder"
        )
    card = read_card(adapter)
    name = base or (card.base_model if card is not None else base_model_of(adapter))
    check_model(name, key="--base", file=adapter)
    temporary = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}"
    try:
        merge_adapter(resolve_model(name, cache), str(adapter.resolve()), temporary)
        if card is not None:
            shutil.copyfile(adapter / CARD, temporary / CARD)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
