"""The benchmark runs on a small size, and its peer gives the stage's scores to the same replies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import evaluation, evaluation_peer
from routenator.chat.replies import parse_reply
from routenator.domain.domain import Domain
from routenator.domain.golden import load_golden
from routenator.evaluation.metrics import score
from routenator.evaluation.verdict import judge_reply
from tests.conftest import TINY
from tests.routenator.test_evaluation_metrics import embed
from tests.routenator.tiny_model import save_tiny_model


def test_both_sides_score_the_same_replies_alike(tiny: Domain) -> None:
    golden = [one for one in load_golden(TINY / "golden.jsonl", tiny.functions) if len(one.calls) == 1]
    texts = []
    for number, example in enumerate(golden):
        call = example.calls[0].as_json()
        wrong = {**call, "arguments": {**call["arguments"], "extracted_prompt": "something else"}}
        texts.append(
            [json.dumps(call), "no idea", json.dumps(wrong), '{"name": "search", "arguments": {}}'][number % 4]
        )
    verdicts = [judge_reply(one, parse_reply(text), tiny.functions) for one, text in zip(golden, texts, strict=True)]
    ours = score(verdicts, tiny.functions, embed, resamples=10, seed=0)
    theirs = evaluation_peer.score(
        [evaluation_peer.read_call(text) for text in texts],
        [one.calls[0].as_json() for one in golden],
        {name: function.subprompt for name, function in tiny.functions.items()},
        embed,
    )
    assert len(golden) >= 4 and 0 < theirs["exact_match"] < 1
    assert {key: ours[key]["value"] for key in theirs} == pytest.approx(theirs)


@pytest.mark.slow
def test_all_figures_are_there(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", head_dim=32)
    small = ["--queries", "4", "--tokens", "4", "--repeat", "1", "--bootstrap", "10", "--domain", str(TINY)]
    report = evaluation.main([*small, "--model", str(model), "--json", str(tmp_path / "report.json")])
    assert json.loads((tmp_path / "report.json").read_text())["peers"] == report["peers"]
    assert report["queries"] == 4 and set(report["peers"]) == set(evaluation.SIDES[1:])
    assert all(found["ratio"] > 0 and found["same_replies"] == 1 for found in report["peers"].values())
    assert all(seconds[part] > 0 for seconds in report["seconds"].values() for part in evaluation.PARTS)
