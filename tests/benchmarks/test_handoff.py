"""The benchmark of a model's ways of use, on a tiny model: what agrees, what does not, and by which margin."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import handoff
from jobs.plan import Run
from routenator.domain.calls import Call
from tests.conftest import TINY
from tests.routenator.handoff import save_trained
from tests.slurm.conftest import make_run, toys

__all__ = ["make_run", "toys"]


def test_the_margin_is_that_of_the_token_where_replies_part() -> None:
    tokens = [("a ", 2.0), ("cat", -0.5), (" poster", 1.0), ("\0", 0.25)]
    assert handoff.margin_where_they_part(tokens, "a dog poster") == -0.5
    assert handoff.margin_where_they_part(tokens, "a cat") == 1.0
    assert handoff.margin_where_they_part(tokens, "a cat poster, please") == 0.25
    assert handoff.margin_where_they_part(tokens, None) == -0.5


def test_calls_are_compared_as_the_run_wrote_them() -> None:
    call = Call("book", {"city": "Bergen"})._asdict()
    assert handoff.read_calls([f"<tool_call>\n{json.dumps(call)}\n</tool_call>", "no idea"]) == [[call], []]


@pytest.mark.slow
def test_a_difference_is_listed_and_a_missed_goal_fails(
    make_run: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run's replies are those of the adapter itself, but one call is another."""
    run = make_run(domain=str(TINY), evaluate={"dtype": "float32", "max_new_tokens": 8}, cache=str(tmp_path))
    save_trained(run.path)
    queries = [json.loads(line)["query"] for line in (TINY / "golden.jsonl").read_text().splitlines()][:4]
    rows = [{"query": query, "after": {"calls": [], "reply": ""}} for query in queries]
    file = run.path / "predictions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = [str(run.path), "--sides", "peft,merged", "--threads", "1", "--json", str(tmp_path / "report.json")]
    report = handoff.main(options)  # random weights call nothing, and neither does the run
    (found,) = report["runs"]
    assert report["met"] and found["dtype"] == "float32" and found["queries"] == 4
    assert [side["same"] for side in found["sides"].values()] == [4, 4]

    call = Call("book", {"city": "Bergen"})._asdict()
    rows[1]["after"] = {"calls": [call], "reply": json.dumps(call)}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = handoff.main(options)
    assert not report["met"] and json.loads((tmp_path / "report.json").read_text()) == report
    for side in report["runs"][0]["sides"].values():
        assert side["same"] == 3 and not side["met"] and side["goal"] == 0.99
        (one,) = side["different"]
        assert (one["query"], one["run"], one["here"]) == (queries[1], [call], [])
        # A model of random weights would not have begun such a reply.
        assert one["margin"] < 0
    assert f"peft: {queries[1]}\n  margin -" in capsys.readouterr().out
