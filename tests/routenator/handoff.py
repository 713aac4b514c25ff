"""An adapter's folder with all but weights."""

from __future__ import annotations

from pathlib import Path

from routenator.chat.templates import choose_template
from routenator.training.adapter import AdapterCard
from tests.routenator.tiny_model import TOOLS, byte_tokenizer


def save_adapter(folder: Path) -> Path:
    """Write ``folder/adapter``, and beside it a base model with nothing but its tokenizer."""
    base, adapter = folder / "base", folder / "adapter"
    byte_tokenizer().save_pretrained(base)
    (base / "config.json").write_text("{}")
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    card = AdapterCard(
        domain="d",
        base_model=str(base),
        prompt="compact",
        tools=TOOLS,
        tool_call_parser="hermes",
        method="lora",
        steps=1,
    )
    card.write(adapter, choose_template("compact", byte_tokenizer(), several=True))
    return adapter
