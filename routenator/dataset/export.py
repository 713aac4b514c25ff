"""Training formats. Each is an entry of ``FORMATS``: file suffix -> how examples become its lines, or its table.

Lines are Polars expressions over a block's columns (``index``, ``query``, ``function``, ``arguments``, ``calls``): no
row passes through Python. The only exception is BFCL's answers, whose shape depends on each call's parameters.
Arguments stay JSON text wherever the format allows it: loaders that infer a schema would otherwise give every row the
parameters of all functions, filled with nulls, and fail on parameters of mixed types.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

Tools = list[dict[str, Any]]
Lines = Callable[[Tools], "pl.Expr"]
Table = Callable[["pl.DataFrame", Tools], "pa.Table"]
# Characters that JSON must escape, and characters that some line readers take for the end of a line.
_ESCAPED = ['"', "\\", *map(chr, range(32)), "\x85", "\u2028", "\u2029"]


@dataclass(frozen=True)
class Format:
    """One training format.

    Attributes:
        description: one sentence for the data set's card.
        lines: suffix of a text file -> function from the API (OpenAI tools) to the expression that makes an example's
            line.
        tables: suffix of a Parquet file -> its schema, and the function that turns a block of examples into a table.
        side_files: names of the data files -> additional files (name -> text), e.g. a registration.
    """

    description: str
    lines: dict[str, Lines] = field(default_factory=dict)
    tables: dict[str, tuple[Callable[[], pa.Schema], Table]] = field(default_factory=dict)
    side_files: Callable[[Sequence[str]], dict[str, str]] = field(default=lambda names: {})

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (*self.lines, *self.tables)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def json_text(text: str | pl.Expr) -> pl.Expr:
    """A text column as JSON strings, including the quotes."""
    import polars as pl

    escaped = (pl.col(text) if isinstance(text, str) else text).str.replace_many(
        _ESCAPED, [json.dumps(sign)[1:-1] for sign in _ESCAPED]
    )
    return pl.concat_str(pl.lit('"'), escaped, pl.lit('"'))


def _name(names: Sequence[str]) -> pl.Expr:
    import polars as pl

    return pl.col("function").replace_strict({name: _dumps(name) for name in names}, return_dtype=pl.String)


def _names(tools: Tools) -> list[str]:
    return [tool["function"]["name"] for tool in tools]


def _messages(tools: Tools) -> list[pl.Expr]:
    """The JSON text of an example's messages, in parts."""
    import polars as pl

    return [
        pl.lit('{"messages": [{"role": "user", "content": '),
        json_text("query"),
        pl.lit('}, {"role": "assistant", "tool_calls": [{"id": "call_'),
        pl.col("index"),
        pl.lit('", "type": "function", "function": {"name": '),
        _name(_names(tools)),
        pl.lit(', "arguments": '),
        json_text("arguments"),
    ]


def openai_line(tools: Tools) -> pl.Expr:
    """OpenAI fine-tuning and TRL: ``messages`` and ``tools``."""
    import polars as pl

    return pl.concat_str(*_messages(tools), pl.lit(f'}}}}]}}], "tools": {_dumps(tools)}}}'))


def axolotl_line(tools: Tools) -> pl.Expr:
    """axolotl ``type: chat_template``: like OpenAI, but each tool's parameters are JSON text, which axolotl parses."""
    packed = [
        {**tool, "function": {**tool["function"], "parameters": _dumps(tool["function"]["parameters"])}}
        for tool in tools
    ]
    import polars as pl

    return pl.concat_str(*_messages(tools), pl.lit(f'}}}}]}}], "tools": {_dumps(packed)}}}'))


def openai_table(examples: pl.DataFrame, tools: Tools) -> pa.Table:
    """Like ``openai_line``, for Parquet: nested ``messages`` with arguments as JSON text; ``tools`` as one JSON text.

    The API is stored once per file (dictionary encoding), not once per row, and as text its functions' parameters are
    not filled with nulls. Built from Arrow arrays, which is about ten times as fast as nested Polars expressions.
    """
    import numpy as np
    import polars as pl
    import pyarrow as pa

    rows = examples.height

    def texts(expression: pl.Expr) -> pa.Array:
        array = examples.select(expression).to_series().rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        return array.cast(pa.string())

    turns = np.tile(np.array([0, 1]), rows)
    user, call = turns == 0, turns == 1
    # The user's turns contain the queries; the assistant's point to position ``rows`` of the array, which is null.
    place = np.where(user, np.repeat(np.arange(rows), 2), rows)
    content = pa.concat_arrays([texts(pl.col("query")), pa.nulls(1, pa.string())]).take(pa.array(place))
    function = pa.StructArray.from_arrays(
        [texts(pl.col("function")), texts(pl.col("arguments"))], ["name", "arguments"]
    )
    identity = texts(pl.concat_str(pl.lit("call_"), pl.col("index")))
    kind = pa.repeat("function", rows)
    calls = pa.StructArray.from_arrays([identity, kind, function], ["id", "type", "function"])
    ends = np.concatenate([[0], np.cumsum(call)]).astype(np.int32)
    tool_calls = pa.ListArray.from_arrays(pa.array(ends), calls, mask=pa.array(user))
    role = pa.array(["user", "assistant"]).take(pa.array(turns))
    turn = pa.StructArray.from_arrays([role, content, tool_calls], ["role", "content", "tool_calls"])
    messages = pa.ListArray.from_arrays(pa.array(np.arange(0, 2 * rows + 1, 2, dtype=np.int32)), turn)
    api = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int32)), pa.array([_dumps(tools)]))
    return pa.table({"messages": messages, "tools": api}, schema=openai_schema())


def openai_schema() -> pa.Schema:
    """The schema of ``openai_table``."""
    import pyarrow as pa

    function = pa.struct([("name", pa.string()), ("arguments", pa.string())])
    call = pa.struct([("id", pa.string()), ("type", pa.string()), ("function", function)])
    turn = pa.struct([("role", pa.string()), ("content", pa.string()), ("tool_calls", pa.list_(call))])
    return pa.schema([("messages", pa.list_(turn)), ("tools", pa.dictionary(pa.int32(), pa.string()))])


def llamafactory_line(tools: Tools) -> pl.Expr:
    """LLaMA-Factory sharegpt: a human turn, a function_call turn, and the tools as JSON text."""
    import polars as pl

    api = _dumps([tool["function"] for tool in tools])
    return pl.concat_str(
        pl.lit('{"conversations": [{"from": "human", "value": '),
        json_text("query"),
        pl.lit('}, {"from": "function_call", "value": '),
        json_text(pl.col("calls").str.slice(1).str.head(-1)),
        pl.lit(f'}}], "tools": {_dumps(api)}}}'),
    )


def llamafactory_info(names: Sequence[str]) -> dict[str, str]:
    """LLaMA-Factory's dataset_info.json, with one entry per file."""
    columns = {"messages": "conversations", "tools": "tools"}
    entries = {
        name.removesuffix(".llamafactory.jsonl"): {"file_name": name, "formatting": "sharegpt", "columns": columns}
        for name in sorted(names)
    }
    return {"dataset_info.json": json.dumps(entries, indent=2) + "\n"}


def _bfcl_id(tools: Tools) -> str:
    # BFCL takes the category from the id: one call out of one function is "simple", out of several "multiple".
    return f'{{"id": "{"simple" if len(tools) == 1 else "multiple"}_'


_BFCL_TYPES = {"object": "dict", "number": "float"}


def _bfcl_schema(schema: Any) -> Any:
    """A JSON schema with BFCL's type names."""
    if isinstance(schema, list):
        return [_bfcl_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {key: _bfcl_schema(value) for key, value in schema.items()}
    if isinstance(schema.get("type"), str):
        renamed["type"] = _BFCL_TYPES.get(schema["type"], schema["type"])
    return renamed


def bfcl_line(tools: Tools) -> pl.Expr:
    """Berkeley Function-Calling Leaderboard: a question."""
    import polars as pl

    functions = [{**tool["function"], "parameters": _bfcl_schema(tool["function"]["parameters"])} for tool in tools]
    return pl.concat_str(
        pl.lit(_bfcl_id(tools)),
        pl.col("index"),
        pl.lit('", "question": [[{"role": "user", "content": '),
        json_text("query"),
        pl.lit(f'}}]], "function": {_dumps(functions)}}}'),
    )


def bfcl_answer_line(tools: Tools) -> pl.Expr:
    """Berkeley Function-Calling Leaderboard: the possible answers to a question, one value for each parameter."""
    import polars as pl

    def possible(calls: pl.Series) -> pl.Series:
        return pl.Series([_dumps(list(map(_possible, json.loads(text)))) for text in calls], dtype=pl.String)

    truth = pl.col("calls").map_batches(possible, return_dtype=pl.String)
    return pl.concat_str(pl.lit(_bfcl_id(tools)), pl.col("index"), pl.lit('", "ground_truth": '), truth, pl.lit("}"))


def _possible(call: dict[str, Any]) -> dict[str, Any]:
    return {call["name"]: {key: [value] for key, value in call["arguments"].items()}}


FORMATS: dict[str, Format] = {
    "openai": Format(
        "OpenAI fine-tuning and TRL: `messages` and `tools`, arguments as JSON text.",
        {".jsonl": openai_line},
    ),
    "openai_parquet": Format(
        "the same as Parquet: nested `messages`, arguments and `tools` as JSON text (TRL reads both), "
        "the API stored once per file.",
        tables={".openai.parquet": (openai_schema, openai_table)},
    ),
    "axolotl": Format(
        "axolotl with `type: chat_template`: like OpenAI, but with each tool's parameters as JSON text.",
        {".axolotl.jsonl": axolotl_line},
    ),
    "llamafactory": Format(
        "LLaMA-Factory's sharegpt with `function_call` turns; `dataset_info.json` registers the files.",
        {".llamafactory.jsonl": llamafactory_line},
        side_files=llamafactory_info,
    ),
    "bfcl": Format(
        "Berkeley Function-Calling Leaderboard: questions, with possible answers in a second file.",
        {".bfcl.jsonl": bfcl_line, ".bfcl_answers.jsonl": bfcl_answer_line},
    ),
}
