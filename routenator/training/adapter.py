"""An adapter's card: ``routenator.json`` beside the PEFT files says how to prompt it and what it was trained for.

The folder stays a plain PEFT adapter: ``PeftModel.from_pretrained(base, folder)`` loads it without RouteNator.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from routenator.chat.templates import TEMPLATE_FILE, Style
from routenator.errors import InputError, value_kind
from routenator.files import read_json, read_text, write_atomic, write_json

CARD = "routenator.json"
WEIGHTS = "adapter_model.safetensors"
CARD_FORMAT = 2
BASE = "base"  # folder of the base model in an exported adapter
_README = """---
base_model: {base}
library_name: peft
tags: [function-calling, routenator]
---

# Adapter for the API of {domain}

A PEFT adapter of {base} ({method}, {steps} steps, prompts in the style `{prompt}`) that turns requests into calls of
the functions below. `{card}` has their schemas. Prompts and replies have the form of `{template}`:

    python -m vllm.entrypoints.openai.api_server --model BASE --enable-lora --lora-modules tuned=FOLDER \\
        --chat-template FOLDER/{template}{parser}

{functions}"""


class AdapterCard(BaseModel):
    """The record of an adapter.

    Attributes:
        base_model: as named in the config: hub id, folder, or ``package:NAME``; ``base`` for the folder of that name
            beside the card.
        base_sha256: identity of the base model's weights; None for adapters of earlier versions.
        prompt: style of prompt that it was trained with.
        tools: the API as OpenAI tools.
        tool_call_parser: vLLM's parser for the calls that it writes, if known.
        method: qlora | lora | prompt.
        steps: optimiser steps.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = CARD_FORMAT
    domain: str
    base_model: str
    base_sha256: str | None = None
    prompt: Style
    tools: list[dict[str, Any]]
    tool_call_parser: str | None
    method: str
    steps: int

    def write(self, folder: Path, template: str) -> None:
        """Write the card, its README, and the chat template of the model's prompts and replies."""
        write_atomic(folder / TEMPLATE_FILE, template)
        write_atomic(folder / "README.md", self.readme())
        write_json(folder / CARD, self.model_dump())

    def readme(self) -> str:
        """The model card, with the metadata that model hubs read."""
        parser = " --enable-auto-tool-choice --tool-call-parser " + (self.tool_call_parser or "PARSER")
        functions = "".join(f"- `{tool['function']['name']}`\n" for tool in self.tools)
        return _README.format(
            base=json.dumps(self.base_model), domain=Path(self.domain).name, method=self.method,
            steps=f"{self.steps:,}", prompt=self.prompt, card=CARD, template=TEMPLATE_FILE, parser=parser,
            functions=functions,
        )  # fmt: skip


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a PEFT adapter."""
    return (folder / "adapter_config.json").is_file()


def read_card(folder: Path) -> AdapterCard | None:
    """Read the card of an adapter; None for a plain PEFT adapter.

    Raises:
        InputError: the card is invalid or has another format.
    """
    file = folder / CARD
    if not file.is_file():
        return None
    raw = read_json(file)
    found = raw.get("format") if isinstance(raw, dict) else value_kind(raw)
    if found != CARD_FORMAT:
        raise InputError(
            "this adapter was trained on prompts of another form; train it again",
            file=file,
            key="format",
            found=found,
            expected=str(CARD_FORMAT),
        )
    try:
        return AdapterCard.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            "this adapter's card is damaged", file=file, key=".".join(map(str, first["loc"])), found=first["msg"]
        ) from None


def check_weights(folder: Path) -> None:
    """Check that an adapter's weights are there and whole; loaders name neither the file nor the reason.

    Raises:
        InputError: there are none, or the file is cut off or damaged.
    """
    file = folder / WEIGHTS
    if not file.is_file():
        if (folder / "adapter_model.bin").is_file():  # a plain PEFT adapter of an earlier version
            return
        raise InputError("this adapter has no weights", file=folder, found="nothing", expected=WEIGHTS)
    size = file.stat().st_size
    try:
        with open(file, "rb") as handle:
            header = int.from_bytes(handle.read(8), "little")
            entries = json.loads(handle.read(min(header, size)))
        # The format's own arithmetic: 8 bytes, the header, then the tensors up to the last offset.
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        whole = size == 8 + header + max(ends, default=0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise InputError(
            "these weights are cut off or damaged",
            file=file,
            found=f"{size:,} bytes, not as their header says",
            expected="the file as training wrote it: copy it again, or train again",
        )


def base_of(folder: Path, card: AdapterCard) -> str:
    """The base model that a card names, for an export that carries it as a path."""
    return str(folder / BASE) if card.base_model == BASE and (folder / BASE).is_dir() else card.base_model


def read_template(folder: Path, style: Style) -> str | None:
    """The chat template that an adapter was trained with; None for a plain PEFT adapter, or one of another style.

    Raises:
        InputError: the card is invalid, or there is no template beside it.
    """
    card = read_card(folder)
    if card is None or card.prompt != style:
        return None
    return read_text(folder / TEMPLATE_FILE, "the chat template that the adapter was trained with")


def base_model_of(folder: Path) -> str:
    """The base model that a plain PEFT adapter names.

    Raises:
        InputError: it names none.
    """
    file = folder / "adapter_config.json"
    name = read_json(file).get("base_model_name_or_path")
    if not name:
        raise InputError("this adapter names no base model", file=file, key="base_model_name_or_path", found=name)
    return str(name)
