"""A sample of queries for ``domain fit`` on the tiny domain."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from routenator.domain.domain import Domain
from routenator.domain.loader import load_domain
from tests.conftest import TINY


def search(query: str, category: str, prompt: str = "red beach") -> dict[str, Any]:
    return {
        "query": query,
        "call": {"name": "search", "arguments": {"content_type": category, "extracted_prompt": prompt}},
    }


def book(query: str, **arguments: Any) -> dict[str, Any]:
    return {"query": query, "call": {"name": "book", "arguments": {"city": "Oslo", **arguments}}}


SAMPLE = [
    *[search("poster of a red beach", "poster")] * 30,  # 5 words, category first
    *[search("Show me the wonderful red beach, as a wall poster!", "poster")] * 20,  # 10 words, last
    *[search("logo red beach", "logo")] * 15,
    *[search("red beach card please", "card")] * 4,
    *[book("a bistro table in Oslo for two people tonight", place="bistro", people=2)] * 12,
    *[book("a table in Oslo near the lake", near="the lake")] * 11,
    *[book("somewhere nice in Oslo", place="palace")] * 10,  # no node stands for palace
]


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    file = folder / "queries.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return file


def loaded(folder: Path, text: str, source: Path = TINY) -> Domain:
    """The domain with this statistics.yaml, loaded the regular way."""
    copy = Path(shutil.copytree(source, folder / "domain"))
    (copy / "statistics.yaml").write_text(text)
    return load_domain(copy)
