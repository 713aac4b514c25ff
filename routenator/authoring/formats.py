"""The formats in which labelled queries come. Each is an entry of ``FORMATS``: its reader, and how it is recognised.

To add one, write a reader (``Source`` -> records, an ``InputError`` with file and line for what is not of the format),
and add an entry with a test of its first value that no other format passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from routenator.authoring.answers import read_bfcl, read_golden, read_xlam
from routenator.authoring.conversations import CHATML, HERMES_TAGS, read_conversations
from routenator.authoring.intents import LISTS, read_hwu64, read_xsid
from routenator.authoring.records import Record, Source, json_values
from routenator.authoring.snips import INTENTS, read_snips
from routenator.authoring.tables import read_csv, separator_of
from routenator.errors import InputError, value_kind

_Value = dict[str, Any]


@dataclass(frozen=True)
class Format:
    """A format of labelled queries.

    Attributes:
        description: one line for ``--help`` and messages.
        read: yields a source's records.
        has: whether a file's first JSON value is of this format.
    """

    description: str
    read: Callable[[Source], Iterator[Record]]
    has: Callable[[_Value], bool] = lambda value: False


def _tagged(value: _Value) -> bool:
    turns = value.get("messages", value.get("conversations"))
    if not isinstance(turns, list):
        return False
    texts = [turn.get("content", turn.get("value")) for turn in turns if isinstance(turn, dict)]
    return any(tag in text for text in texts if isinstance(text, str) for tag in HERMES_TAGS)


FORMATS: dict[str, Format] = {
    "golden": Format(
        '{"query": ..., "calls": [{"name": ..., "arguments": {...}}, ...]}, or "call" for one',
        read_golden,
        lambda value: "query" in value and "answers" not in value,
    ),
    "openai": Format(
        "OpenAI messages, as in fine-tuning files and in this project's train*.jsonl",
        read_conversations,
        lambda value: isinstance(value.get("messages"), list) and not _tagged(value),
    ),
    "sharegpt": Format(
        "ShareGPT conversations with function_call turns, as LLaMA-Factory reads them",
        read_conversations,
        lambda value: isinstance(value.get("conversations"), list) and not _tagged(value),
    ),
    "hermes": Format(
        "<tool_call> tags in messages, in conversations, or in ChatML text",
        read_conversations,
        lambda value: _tagged(value) or (isinstance(value.get("text"), str) and CHATML in value["text"]),
    ),
    "xlam": Format(
        "xLAM function-calling data: query and answers",
        read_xlam,
        lambda value: "query" in value and "answers" in value,
    ),
    "bfcl": Format(
        "Berkeley Function-Calling Leaderboard: questions, and possible answers in a second file",
        read_bfcl,
        lambda value: "question" in value and "id" in value,
    ),
    "csv": Format("a table with columns query, function, and arguments or one for each parameter", read_csv),
    "snips": Format(
        "the SNIPS benchmark: its folder, or one of its files",
        read_snips,
        lambda value: len(value) == 1 and next(iter(value)) in INTENTS,
    ),
    "xsid": Format("CoNLL with intent and slots, as in xSID", read_xsid),
    "hwu64": Format(
        "JSON with intents and entities, as in HWU64 and Rasa: a file, or a folder of them",
        read_hwu64,
        lambda value: (
            any(name in value for name in (*LISTS, "rasa_nlu_data")) or {"text", "intent", "entities"} <= value.keys()
        ),
    ),
}


def format_of(source: Source, forced: str | None) -> str:
    """The name of a source's format.

    Args:
        forced: the name that the user gave; None: recognise it.

    Raises:
        InputError: no such format, no such file, or a file that no format or several fit.
    """
    if forced is not None:
        if forced not in FORMATS:
            raise InputError("no such format", key="--format", found=forced, valid=FORMATS)
        return forced
    if source.file.is_dir():
        if any(_snips_files(source)):
            return "snips"
        if any(source.file.rglob("*.json")):
            return "hwu64"
        raise InputError(
            "no benchmark is in this folder",
            file=source.file,
            found="no *.json",
            expected="the files of snips or hwu64",
        )
    text = source.text
    first = text.lstrip()[:1]
    if not first:
        raise InputError("the file has no queries", file=source.file, found="nothing", expected="queries and calls")
    if first not in ("{", "["):
        if separator_of(text) is not None:
            return "csv"
        if any(line.startswith("# intent") or line.count("\t") >= 3 for line in text.split("\n", 8)[:8]):
            return "xsid"
        found = text.lstrip().split("\n", 1)[0][:60]
    else:
        value = next((value for _, value in json_values(text, source.file, "queries and calls")), None)
        names = [name for name, one in FORMATS.items() if isinstance(value, dict) and one.has(value)]
        if len(names) == 1:
            return names[0]
        keys = ", ".join(map(str, value)) if isinstance(value, dict) else value_kind(value)
        found = f"{keys[:80]}" + (f" (may be {' or '.join(names)})" if names else "")
    raise InputError(
        "cannot tell in which format this file is",
        file=source.file,
        key="line 1",
        found=found,
        expected=f"--format with one of {', '.join(FORMATS)}",
    )


def _snips_files(source: Source) -> Iterator[bool]:
    for intent in INTENTS:
        yield (source.file / intent).is_dir() or any(source.file.glob(f"*_{intent}*.json"))
