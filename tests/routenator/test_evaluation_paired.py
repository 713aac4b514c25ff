"""Comparison of two predictions files on their common queries."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from routenator.domain.functions import Function
from routenator.domain.golden import GoldenCall, GoldenExample
from routenator.errors import InputError
from routenator.evaluation.bootstrap import mcnemar
from routenator.evaluation.metrics import with_similarities
from routenator.evaluation.paired import compare_files, read_verdicts
from routenator.evaluation.predict import Answers
from routenator.evaluation.run import write_predictions
from routenator.evaluation.verdict import judge_reply
from slurm.experiments.compare_runs import print_comparison
from tests.routenator.test_evaluation_metrics import embed, example, function, reply

FUNCTIONS: dict[str, Function] = {"find": function("find"), "make": function("make")}
GOLDEN: list[GoldenExample] = [
    GoldenExample(f"query\u2028{number}", (GoldenCall("find", {"text": "red"}),)) for number in range(12)
]


def write(file: Path, right: list[bool], numbers: list[int] | None = None) -> Path:
    rows = []
    for number, good in zip(numbers or range(len(right)), right, strict=True):
        reply = json.dumps({"name": "find" if good else "make", "arguments": {"text": "red"}})
        rows.append(
            json.dumps({"query": f"query\u2028{number}", "gold": {}, "after": {"reply": reply}}, ensure_ascii=False)
        )
    file.write_text("\n".join(rows) + "\n")
    return file


def test_the_difference_is_the_second_minus_the_first(tmp_path: Path) -> None:
    first, second = [True] * 4 + [False] * 8, [True] * 10 + [False] * 2
    value = compare_files(
        write(tmp_path / "a", first), write(tmp_path / "b", second), GOLDEN, FUNCTIONS, embed, seed=1, resamples=300
    )
    assert value["n"] == 12 and value["only_first"] == value["only_second"] == 0
    assert value["function"]["difference"]["value"] == pytest.approx(0.5)
    assert value["function"]["p_value"] == mcnemar(np.array(first), np.array(second))
    assert value["function"]["difference"]["low"] > 0


def test_the_difference_is_also_given_by_language(tmp_path: Path) -> None:
    golden = [replace(one, language="de" if number < 4 else "en") for number, one in enumerate(GOLDEN)]
    first, second = write(tmp_path / "a", [True] * 12), write(tmp_path / "b", [False] * 4 + [True] * 8)
    value = compare_files(first, second, golden, FUNCTIONS, embed, seed=1, resamples=50)
    assert list(value["languages"]) == ["de", "en"]
    assert {name: found["n"] for name, found in value["languages"].items()} == {"de": 4, "en": 8}
    assert value["languages"]["de"]["exact_match"]["difference"]["value"] == -1.0
    assert value["languages"]["en"]["exact_match"]["difference"]["value"] == 0.0
    console = Console(file=io.StringIO(), width=100)
    print_comparison({"first": "a", "second": "b", **value}, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "de: 4 queries" in text and "en: 8 queries" in text
    assert "languages" not in compare_files(first, second, GOLDEN, FUNCTIONS, embed, seed=1, resamples=50)


def test_only_common_queries_count(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", [True] * 6), write(tmp_path / "b", [False] * 6, [4, 5, 6, 7, 8, 9])
    value = compare_files(a, b, GOLDEN, FUNCTIONS, embed, seed=1, resamples=50)
    assert (value["n"], value["only_first"], value["only_second"]) == (2, 4, 4)
    assert value["function"]["difference"]["value"] == -1.0


def test_replies_are_judged_again_by_the_runs_own_idea_of_a_right_value(tmp_path: Path) -> None:
    file = write(tmp_path / "a", [True] * 3)
    golden = [GoldenExample(one.query, (GoldenCall("find", {"text": "r-e d"}),)) for one in GOLDEN]
    assert not any(verdict.exact for _, verdict in read_verdicts(file, golden, FUNCTIONS))
    assert all(verdict.exact for _, verdict in read_verdicts(file, golden, FUNCTIONS, "berkeley"))


def test_bad_files_are_refused(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", [True] * 3), write(tmp_path / "b", [True] * 3, [5, 6, 7])
    with pytest.raises(InputError, match="no query in common"):
        compare_files(a, b, GOLDEN, FUNCTIONS, embed, seed=1, resamples=50)
    untrained = tmp_path / "c"
    untrained.write_text(a.read_text().replace('"after"', '"before"'))
    with pytest.raises(InputError, match="no reply of this model"):
        read_verdicts(untrained, GOLDEN, FUNCTIONS)
    with pytest.raises(InputError, match="not in the golden set"):
        read_verdicts(a, [example()], FUNCTIONS)


def written(file: Path, texts: list[str], *, stored: bool) -> Path:
    """Predictions of queries with one call each; the texts are the predicted subprompts."""
    replies = [reply(kind="cat", text=text) for text in texts]
    verdicts = [judge_reply(gold, said, FUNCTIONS) for gold, said in zip(GOLDEN, replies, strict=True)]
    verdicts = with_similarities(verdicts, embed) if stored else verdicts
    raw = [json.dumps({"name": "find", "arguments": said.calls[0].arguments}) for said in replies]
    answers = Answers(raw, engine="x", seconds=1.0, latencies=[1.0], replies=replies, verdicts=verdicts)
    write_predictions(file, GOLDEN, {"after": answers})
    return file


def no_embedder(texts: list[str]) -> np.ndarray:
    raise AssertionError(f"{texts} were embedded again")


def test_similarities_that_evaluation_stored_are_read_and_not_computed_again(tmp_path: Path) -> None:
    """It took 16 seconds to import and load an embedder that had nothing new to say."""
    texts = {"a": ["red"] * 11 + [" "], "b": ["crimson", "so ü \u2028 red", *["red"] * 10]}
    old = [written(tmp_path / f"old-{name}", said, stored=False) for name, said in texts.items()]
    new = [written(tmp_path / name, said, stored=True) for name, said in texts.items()]
    assert "subprompts" not in old[0].read_text()
    assert json.loads(new[1].read_text().split("\n")[0])["after"]["subprompts"] == [
        {"gold": "red", "said": "crimson", "similarity": pytest.approx(np.cos(0.4))}
    ]
    found = compare_files(*new, GOLDEN, FUNCTIONS, no_embedder, seed=1, resamples=50)
    assert found == compare_files(*old, GOLDEN, FUNCTIONS, embed, seed=1, resamples=50)
    assert found["ss"]["difference"]["value"] == pytest.approx((np.cos(0.4) + np.cos(0.7) - 1) / 12)
    with pytest.raises(AssertionError, match="embedded again"):
        compare_files(new[0], old[1], GOLDEN, FUNCTIONS, no_embedder, seed=1, resamples=50)
    with pytest.raises(AssertionError, match="embedded again"):  # those of another embedder are of no use
        compare_files(*new, GOLDEN, FUNCTIONS, no_embedder, seed=1, resamples=50, same_embedder=False)
    # A golden text other than the one that was measured.
    other = [replace(one, calls=(GoldenCall("find", {"text": "blue"}),)) for one in GOLDEN]
    with pytest.raises(AssertionError, match="blue"):
        compare_files(*new, other, FUNCTIONS, no_embedder, seed=1, resamples=50)


@pytest.mark.parametrize("stored", [1, ["red"], [{"gold": "red", "said": "red"}], [{"similarity": 1}]])
def test_similarities_of_another_form_are_refused(tmp_path: Path, stored: object) -> None:
    file = written(tmp_path / "a", ["red"] * 12, stored=True)
    rows = [json.loads(line) for line in file.read_text().rstrip("\n").split("\n")]
    rows[2]["after"]["subprompts"] = stored
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="not similarities of subprompts") as error:
        read_verdicts(file, GOLDEN, FUNCTIONS)
    assert error.value.key == "line 3: subprompts"
