"""A trained adapter with everything that is needed to use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from routenator.errors import InputError
from routenator.models import check_model, resolve_model
from routenator.training.adapter import CARD, AdapterCard, base_of, is_adapter, read_card, read_template


@dataclass(frozen=True)
class TrainedModel:
    """A trained adapter and its base model.

    Attributes:
        adapter: folder of the PEFT adapter.
        card: its card.
        template: the chat template that it was trained with.
        base: the base model as engines load it: a folder or hub id.
    """

    adapter: Path
    card: AdapterCard
    template: str
    base: str


def open_trained(adapter: Path, cache: Path, base: str | None = None) -> TrainedModel:
    """Read what is beside an adapter's weights, and find its base model.

    Args:
        adapter: folder of an adapter that this project trained.
        cache: folder for prepared weights.
        base: the base model, if not the one that the card names.

    Raises:
        InputError: it is not such an adapter, or there is no such base model.
        CorruptModelError: the base model is not as expected.
    """
    if not is_adapter(adapter):
        raise InputError(
            "not an adapter", file=adapter, found="no adapter_config.json", expected="a trained adapter's folder"
        )
    card = read_card(adapter)
    template = read_template(adapter, card.prompt) if card is not None else None
    if card is None or template is None:
        raise InputError(
            "this adapter was not trained here", file=adapter, found=f"no {CARD}", expected="a trained adapter's folder"
        )
    name = base or base_of(adapter, card)
    check_model(name, key="--base", file=adapter / CARD)
    return TrainedModel(adapter.resolve(), card, template, resolve_model(name, cache))
