"""Training formats. Each is an entry of ``FORMATS``: file suffix -> how examples become its lines, or its table.

Lines are Polars expressions over a block's columns (``index``, ``asked``, ``calls``, ``parts`` of
``routenator.dataset.calls.call_parts``, ``reply``, ``hidden``): no row passes through Python. ``asked`` is the query as
the prompt has it. The only exception is BFCL's answers, whose shape depends on each call's parameters.
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


def _messages() -> list[pl.Expr]:
    """The JSON text of an example's messages, in parts."""
    import polars as pl

    part = pl.element().struct
    call = pl.concat_str(
        pl.lit('{"id": "'),
        part.field("id"),
        pl.lit('", "type": "function", "function": {"name": '),
        json_text(part.field("name")),
        pl.lit(', "arguments": '),
        json_text(part.field("arguments")),
        pl.lit("}}"),
    )
    calls = pl.concat_str(pl.lit('"tool_calls": ['), pl.col("parts").list.eval(call).list.join(", "), pl.lit("]"))
    reply = pl.concat_str(pl.lit('"content": '), json_text("reply"))
    return [
        pl.lit('{"messages": [{"role": "user", "content": '),
        json_text("asked"),
        pl.lit('}, {"role": "assistant", '),
        pl.when(_count() == 0).then(reply).otherwise(calls),
        pl.lit('}], "tools": '),
    ]


def _count() -> pl.Expr:
    """Number of calls of each row."""
    import polars as pl

    return pl.col("parts").list.len()


def _shown(tools: Tools, text: Callable[[Tools], str]) -> pl.Expr:
    """The text of the API that each row shows: without the functions that are hidden in it."""
    import polars as pl

    def without(hidden: pl.Series) -> pl.Series:
        names = hidden.list.join("\0")
        texts = {key: text(_without(tools, key.split("\0"))) for key in names.drop_nulls().unique()}
        return names.replace_strict(texts, default=None, return_dtype=pl.String)

    every = pl.lit(text(tools))
    return pl.coalesce(pl.col("hidden").map_batches(without, return_dtype=pl.String), every)


def _without(tools: Tools, names: Sequence[str]) -> Tools:
    return [tool for tool in tools if tool["function"]["name"] not in names]


def openai_line(tools: Tools) -> pl.Expr:
    """OpenAI fine-tuning and TRL: ``messages`` and ``tools``."""
    import polars as pl

    return pl.concat_str(*_messages(), _shown(tools, _dumps), pl.lit("}"))


def axolotl_line(tools: Tools) -> pl.Expr:
    """axolotl ``type: chat_template``: like OpenAI, but each tool's parameters are JSON text, which axolotl parses."""
    packed = [
        {**tool, "function": {**tool["function"], "parameters": _dumps(tool["function"]["parameters"])}}
        for tool in tools
    ]
    import polars as pl

    return pl.concat_str(*_messages(), _shown(packed, _dumps), pl.lit("}"))


def openai_table(examples: pl.DataFrame, tools: Tools) -> pa.Table:
    """Like ``openai_line``, for Parquet: nested ``messages`` with arguments as JSON text; ``tools`` as one JSON text.

    The API is stored once per file (dictionary encoding), not once per row, and as text its functions' parameters are
    not filled with nulls. Built from Arrow arrays, which is about ten times as fast as nested Polars expressions.
    """
    import numpy as np
    import polars as pl
    import pyarrow as pa

    rows = examples.height

    def texts(values: pl.Series) -> pa.Array:
        return values.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())

    turns = np.tile(np.array([0, 1]), rows)
    # The user's turns contain the queries, those of the assistant the replies of rows without a call, else nulls.
    place = np.repeat(np.arange(rows), 2) + rows * turns
    content = pa.concat_arrays([texts(examples["asked"]), texts(examples["reply"])]).take(pa.array(place))
    count = examples["parts"].list.len().to_numpy().astype(np.int32)
    parts = examples["parts"].explode().drop_nulls().struct.unnest()
    function = pa.StructArray.from_arrays([texts(parts["name"]), texts(parts["arguments"])], ["name", "arguments"])
    kind = pa.repeat("function", parts.height)
    calls = pa.StructArray.from_arrays([texts(parts["id"]), kind, function], ["id", "type", "function"])
    lengths = np.repeat(count, 2) * turns
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    tool_calls = pa.ListArray.from_arrays(pa.array(ends), calls, mask=pa.array(lengths == 0))
    role = pa.array(["user", "assistant"]).take(pa.array(turns))
    turn = pa.StructArray.from_arrays([role, content, tool_calls], ["role", "content", "tool_calls"])
    messages = pa.ListArray.from_arrays(pa.array(np.arange(0, 2 * rows + 1, 2, dtype=np.int32)), turn)
    shown = texts(examples.select(_shown(tools, _dumps)).to_series())
    return pa.table({"messages": messages, "tools": shown.dictionary_encode()}, schema=openai_schema())


def openai_schema() -> pa.Schema:
    """The schema of ``openai_table``."""
    import pyarrow as pa

    function = pa.struct([("name", pa.string()), ("arguments", pa.string())])
    call = pa.struct([("id", pa.string()), ("type", pa.string()), ("function", function)])
    turn = pa.struct([("role", pa.string()), ("content", pa.string()), ("tool_calls", pa.list_(call))])
    return pa.schema([("messages", pa.list_(turn)), ("tools", pa.dictionary(pa.int32(), pa.string()))])


def llamafactory_line(tools: Tools) -> pl.Expr:
    """LLaMA-Factory sharegpt: a human turn, a turn of function calls or of text, and the tools as JSON text."""
    import polars as pl

    # One call stands alone, several are a list.
    calls = pl.when(_count() == 1).then(pl.col("calls").str.slice(1).str.head(-1)).otherwise("calls")
    none = _count() == 0
    return pl.concat_str(
        pl.lit('{"conversations": [{"from": "human", "value": '),
        json_text("asked"),
        pl.when(none)
        .then(pl.lit('}, {"from": "gpt", "value": '))
        .otherwise(pl.lit('}, {"from": "function_call", "value": ')),
        json_text(pl.when(none).then("reply").otherwise(calls)),
        pl.lit('}], "tools": '),
        _shown(tools, lambda shown: _dumps(_dumps([tool["function"] for tool in shown]))),
        pl.lit("}"),
    )


def llamafactory_info(names: Sequence[str]) -> dict[str, str]:
    """LLaMA-Factory's dataset_info.json, with one entry per file."""
    columns = {"messages": "conversations", "tools": "tools"}
    entries = {
        name.removesuffix(".llamafactory.jsonl"): {"file_name": name, "formatting": "sharegpt", "columns": columns}
        for name in sorted(names)
    }
    return {"dataset_info.json": json.dumps(entries, indent=2) + "\n"}


def _bfcl_id(tools: Tools) -> pl.Expr:
    """The id, from which BFCL takes the category: calls of one function are "simple" or "parallel"."""
    import polars as pl

    one, several = ("simple", "parallel") if len(tools) == 1 else ("multiple", "parallel_multiple")
    category = pl.when(_count() == 0).then(pl.lit("irrelevance")).when(_count() == 1).then(pl.lit(one))
    return pl.concat_str(pl.lit('{"id": "'), category.otherwise(pl.lit(several)), pl.lit("_"), "index", pl.lit('", '))


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
    packed = [{"function": function} for function in functions]
    return pl.concat_str(
        _bfcl_id(tools),
        pl.lit('"question": [[{"role": "user", "content": '),
        json_text("asked"),
        pl.lit('}]], "function": '),
        _shown(packed, lambda shown: _dumps([tool["function"] for tool in shown])),
        pl.lit("}"),
    )


def bfcl_answer_line(tools: Tools) -> pl.Expr:
    """Berkeley Function-Calling Leaderboard: the possible answers to a question, one value for each parameter."""
    import polars as pl

    def possible(calls: pl.Series) -> pl.Series:
        return pl.Series([_dumps(list(map(_possible, json.loads(text)))) for text in calls], dtype=pl.String)

    truth = pl.col("calls").map_batches(possible, return_dtype=pl.String)
    return pl.concat_str(_bfcl_id(tools), pl.lit('"ground_truth": '), truth, pl.lit("}"))


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
