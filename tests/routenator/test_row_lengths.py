"""Tokens of rows are counted before training, which refuses rows that are too long."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from routenator.authoring.drawn import draw_all
from routenator.authoring.rowlengths import length_warnings, load_tokenizer, row_lengths
from routenator.chat.prompts import PromptFormat
from routenator.domain.calls import Call
from routenator.domain.domain import Domain
from routenator.errors import InputError
from slurm.commands.domain import app
from tests.conftest import TINY
from tests.routenator.tiny_model import byte_tokenizer


def test_the_longest_rows_are_counted_as_training_counts_them(tiny: Domain) -> None:
    """Rows that were too long were found in training, after all the rest was done."""
    tokenizer, draws = byte_tokenizer(), draw_all(tiny)
    lengths = {each.style: each for each in row_lengths(tiny, draws, tokenizer)}
    assert set(lengths) == {"compact", "tools"}
    for style, found in lengths.items():
        form = PromptFormat(style, tiny.tools(), tokenizer)
        longest = max(
            len(form.prompt_ids(query)) + len(form.reply_ids(query, [Call(each.function, json.loads(arguments))]))
            for each in draws
            if each.words is not None
            for query, arguments in zip(each.words.query.to_pylist(), each.words.arguments.to_pylist(), strict=True)
        )
        assert found.total == longest and 0 < found.prompt < found.total
    # A token a byte: the tools alone are longer than 1,024 tokens.
    (warning,) = length_warnings(tiny, list(lengths.values()))
    total = lengths["tools"].total
    assert f"{total:,} tokens" in warning and "train.max_length=1,024" in warning and "train.prompt=compact" in warning
    advised = int(warning.partition("Set train.max_length to ")[2].partition(", use")[0].replace(",", ""))
    assert total <= advised <= 2 * total


def test_domain_check_counts_by_a_folder_with_nothing_but_a_tokenizer(tmp_path: Path) -> None:
    byte_tokenizer().save_pretrained(tmp_path)
    shown = CliRunner().invoke(app, ["domain", "check", str(TINY), "--model", str(tmp_path), "--json"])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert found["facts"]["tokens of the longest rows drawn (tools)"] > 1024
    assert any("train.max_length" in warning for warning in found["warnings"])


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tokenizer can be loaded"):
        load_tokenizer(str(tmp_path))
