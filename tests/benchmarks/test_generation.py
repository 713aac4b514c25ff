"""The benchmark runs on a small size, and both sides write the same replies."""

from __future__ import annotations

import json

import pytest

from benchmarks import generation
from tests.conftest import TINY
from tests.routenator.tiny_model import save_tiny_model

SMALL = ["--prompts", "8", "--chunk", "4", "--repeat", "1", "--peer-prompts", "2", "--domain", str(TINY)]


@pytest.mark.slow
def test_all_figures_are_there(tmp_path):
    model = save_tiny_model(tmp_path / "model", head_dim=32)
    report = generation.main([*SMALL, "--model", str(model), "--json", str(tmp_path / "report.json")])
    assert json.loads((tmp_path / "report.json").read_text())["overhead"] == report["overhead"] > 0
    assert report["tokens"]["stage"] == report["tokens"]["bare"] > 0
    assert set(report["times_transformers"]) == {1, 16} and report["engine_start_s"] > 0
