"""The benchmark runs on a small size and reports every figure."""

from __future__ import annotations

import json

from benchmarks import sampling
from tests.conftest import TINY


def test_it_measures_the_stage_and_the_peer(tmp_path, capsys):
    file = tmp_path / "result.json"
    report = sampling.main(
        [
            "--rows",
            "500",
            "3000",
            "--domain",
            str(TINY),
            "--peer-rows",
            "200",
            "--work",
            str(tmp_path),
            "--json",
            str(file),
        ]
    )
    assert json.loads(file.read_text()) == report
    assert [size["rows"] for size in report["sizes"]] == [500, 3000]
    assert report["networkx_paths_per_s"] > 0 and report["remembering_paths_per_s"] > 0
    assert all(size["cpu_s"] > 0 and size["peak_mib"] > 10 and size["bytes"] > 0 for size in report["sizes"])
    assert report["growth"][0]["rows"] == 6
    assert "x networkx" in capsys.readouterr().out and [path.name for path in tmp_path.iterdir()] == ["result.json"]
