"""Tokens of rows are counted before training, which refuses rows that are too long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from launch import app
from routenator.authoring.drawn import draw_all, drawn_rows
from routenator.authoring.rowlengths import length_warnings, load_tokenizer, row_lengths
from routenator.chat.prompts import PromptFormat
from routenator.config import EvaluateConfig, RunConfig
from routenator.domain.calls import Call
from routenator.domain.domain import Domain
from routenator.domain.golden import GoldenCall, GoldenExample, load_golden
from routenator.errors import InputError
from slurm.preflight.lengths import check_reply_lengths, check_row_lengths
from tests.conftest import TINY
from tests.routenator.tiny_model import byte_tokenizer


def test_the_longest_rows_are_counted_as_training_counts_them(tiny: Domain) -> None:
    """Rows that were too long were found in training, after all the rest was done."""
    tokenizer, draws = byte_tokenizer(), draw_all(tiny)
    rows = drawn_rows(draws)
    lengths = {each.style: each for each in row_lengths(tiny.tools(), rows, tokenizer)}
    assert set(lengths) == {"compact", "tools"}
    for style, found in lengths.items():
        form = PromptFormat(style, tiny.tools(), tokenizer)
        longest = max(len(form.prompt_ids(query)) + len(form.reply_ids(query, calls)) for query, calls in rows)
        assert found.total == longest and 0 < found.prompt < found.total
    # A token a byte: the tools alone are longer than 1,024 tokens.
    (warning,) = length_warnings(tiny, list(lengths.values()))
    total = lengths["tools"].total
    assert f"{total:,} tokens" in warning and "train.max_length=1,024" in warning and "train.prompt=compact" in warning
    advised = int(warning.partition("Set train.max_length=")[2].partition(", train")[0].replace(",", ""))
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


def config_of(folder: Path, **train: Any) -> RunConfig:
    """A config whose trained model is a folder with nothing but a tokenizer: a token a byte."""
    byte_tokenizer().save_pretrained(folder / "model")
    values = {
        "name": "r",
        "domain": str(TINY),
        "root": str(folder),
        "model": {"generator": {"model": "m/m"}, "trainee": str(folder / "model"), "embedder": "m/m"},
        "train": train,
    }
    return RunConfig.model_validate(values)


def test_rows_that_training_would_refuse_are_said_before_anything_is_submitted(tiny: Domain, tmp_path: Path) -> None:
    """They were found in training, after the GPU hours of generation."""
    golden = load_golden(TINY / "golden.jsonl", tiny.functions)
    with pytest.raises(InputError) as caught:
        check_row_lengths(config_of(tmp_path, max_length=512), tiny, golden)
    assert caught.value.key == "train.max_length" and "train.prompt=compact" in str(caught.value)
    advised = int(str(caught.value).partition("train.max_length=")[2].partition(", train")[0].replace(",", ""))
    assert check_row_lengths(config_of(tmp_path, max_length=advised), tiny, golden) == []
    with pytest.raises(InputError):  # without a golden set, by the prompt alone
        check_row_lengths(config_of(tmp_path, max_length=512), tiny, [])
    call = GoldenCall("search", {"content_type": "poster", "extracted_prompt": "x" * 300})
    rows = [*golden, GoldenExample("a poster of " + "x" * 300, (call,))]
    (warning,) = check_row_lengths(config_of(tmp_path, max_length=250, prompt="compact"), tiny, rows)
    assert "the longest golden query" in warning and "train.max_length=250" in warning
    assert check_row_lengths(config_of(tmp_path, max_length=1024, prompt="compact"), tiny, rows) == []


def test_without_the_models_tokenizer_nothing_is_counted(tiny: Domain, tmp_path: Path) -> None:
    config = config_of(tmp_path, max_length=512)
    for name in ("no/such-model", "package:smollm2-135m-instruct"):
        other = config.model_copy(
            update={"cache": str(tmp_path / "cache"), "model": config.model.model_copy(update={"trainee": name})}
        )
        assert check_row_lengths(other, tiny, []) == []


def test_plan_refuses_rows_that_are_too_long(tmp_path: Path) -> None:
    config = config_of(tmp_path, max_length=512)
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    shown = CliRunner().invoke(app, ["plan", str(tmp_path / "run.yaml")])
    assert shown.exit_code == 2, shown.output
    assert "train.max_length" in shown.stderr and "of them prompt" in shown.stderr


def test_right_replies_that_would_be_cut_off_are_said_before_a_run(tiny: Domain, tmp_path: Path) -> None:
    """They count as wrong whatever the model does, and looked like its mistakes."""
    call = GoldenCall("search", {"content_type": "poster", "extracted_prompt": "x" * 300})
    golden = [*load_golden(TINY / "golden.jsonl", tiny.functions), GoldenExample("a poster of " + "x" * 300, (call,))]
    form = PromptFormat("compact", tiny.tools(), byte_tokenizer())
    longest = len(form.reply_ids("", [Call(call.name, call.arguments)]))

    def config(limit: int) -> RunConfig:
        return config_of(tmp_path).model_copy(update={"evaluate": EvaluateConfig(max_new_tokens=limit)})

    (warning,) = check_reply_lengths(config(160), golden)
    assert f"1 of {len(golden):,} golden queries" in warning and f"{longest:,} tokens" in warning
    advised = int(warning.rpartition("=")[2].replace(",", ""))
    assert check_reply_lengths(config(advised), golden) == [] and check_reply_lengths(config(160), golden[:-1]) == []
