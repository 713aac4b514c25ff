"""The benchmark runs on a small size, and its peer makes the same slots."""

from __future__ import annotations

import json

from benchmarks import heuristic
from routenator.wording.composer import Composer
from tests.conftest import TINY, make_config

SMALL = ["--rows", "400", "--peer-rows", "50", "--repeat", "1", "--domains", str(TINY)]


def test_all_figures_are_there(tmp_path):
    report = heuristic.main([*SMALL, "--json", str(tmp_path / "report.json")])
    (result,) = report["results"]
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert result["rows"] == 400 and result["accepted"] > 0.5
    assert result["ratio"] > 1 and result["stage_rows_per_s"] > 0


def test_the_peer_draws_the_same_slots(tiny):
    requests, strata = heuristic.heuristic_requests(tiny, make_config(dataset={"size": 2000}), 1000)
    peer = heuristic.PlainPython(tiny, strata, 24)
    composer = Composer(tiny, make_config(), strata)
    own = [json.loads(slots)[0] for slots in composer.details(requests)["slots"].to_pylist()]
    theirs = [json.loads(peer.row(row)[1]) for row in requests.to_pylist()]
    for slot in ("content_type", "city", "people", "near"):
        assert abs(sum(slot in row for row in own) - sum(slot in row for row in theirs)) < 70
    words = [len(query.split()) for query in composer.details(requests)["draft"].to_pylist()]
    their_words = [len(peer.row(row)[0].split()) for row in requests.to_pylist()]
    assert abs(sum(words) / len(words) - sum(their_words) / len(their_words)) < 0.6
