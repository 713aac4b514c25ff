"""The result table in an 80-column terminal."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from routenator.report.summary import build_summary, stage_row
from routenator.report.table import print_summary, score_text
from tests.routenator.test_report_summary import receipt


def summary(rounds: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    scores = {
        "n": 200,
        "function_f1_macro": {"value": 0.9123, "low": 0.87, "high": 0.95},
        "cta": {"value": 0.8, "low": 0.7, "high": 0.9},
        "exact_match": {"value": None},
        "unparsable": 0.01,
    }
    counts = {
        "wanted": 400, "requested": 1000, "generated": 1000, "accepted": 600, "final": 380, "train": 342,
        "validation": 38, "backfilled": 12, "missing": 20, "rejected": {"grounding": 400},
        "dropped": {"duplicate": 220, "conflict": 0},
    }  # fmt: skip
    merge: dict[str, Any] = {
        "counts": counts, "distribution": None, "deficits": [], "rounds": rounds or [], "words": {}, "positions": {},
        "generators": {}, "examples": [],
    }  # fmt: skip
    given: dict[str, Any] = {
        "run": {"name": "demo[bold]", "title": "Creative [red]content[/red]"},
        "stages": [
            stage_row("sample", 2, [receipt(), receipt()]),
            stage_row(
                "generate",
                3,
                [receipt(metrics={"tokens_per_second": 1234.4}), receipt(metrics={"tokens_per_second": 1234.4})],
            ),
        ],
        "merge": merge,
        "training": [],
        "scores": {"before": None, "after": scores},
    }
    return build_summary(**{**given, **changes})


def printed(value: dict[str, Any], **more: Any) -> str:
    stream = io.StringIO()
    print_summary(value, Console(file=stream, width=80), **more)
    return stream.getvalue()


def line(text: str, start: str) -> list[str]:
    return next(row for row in text.splitlines() if row.strip().startswith(start)).split()


def test_scores_with_intervals_and_no_before() -> None:
    text = printed(summary())
    assert line(text, "Function F1, macro") == ["Function", "F1,", "macro", "-", "0.912", "[0.870,", "0.950]"]
    assert line(text, "Exact call match")[-1] == "-"
    assert line(text, "Unparsable")[-1] == "0.010"
    assert "200 golden queries" in text
    assert "Subprompt" not in text  # not measured: no row


def test_before_and_after_are_side_by_side() -> None:
    value = summary(
        scores={"before": {"n": 9, "cta": {"value": 0.1, "low": 0.0, "high": 0.2}}, "after": {"n": 9, "cta": 0.5}}
    )
    assert line(printed(value), "Content-type")[2:] == ["0.100", "[0.000,", "0.200]", "0.500"]


def test_replies_that_were_cut_off_are_said_of_a_trained_model_alone() -> None:
    sides = {"before": {"n": 9, "cta": 0.1, "cut_off": 9}, "after": {"n": 9, "cta": 0.5, "cut_off": 2}}
    found = [row for row in printed(summary(scores=sides)).splitlines() if "cut off" in row]
    assert len(found) == 1 and found[0].startswith("2 of 9 replies (after) were cut off")
    sides["after"]["cut_off"] = 0
    assert "cut off" not in printed(summary(scores=sides))


def test_restricted_replies_stand_beside_the_free_ones() -> None:
    value = summary(scores={"before": None, "after": {"n": 9, "cta": 0.5}, "guided": {"n": 9, "cta": 0.625}})
    assert line(printed(value), "Content-type")[2:] == ["-", "0.500", "0.625"]
    assert line(printed(value), "metric") == ["metric", "before", "after", "guided"]


def test_counts_at_each_step() -> None:
    text = printed(summary())
    assert line(text, "requested") == ["requested", "1,000"]
    assert line(text, "accepted") == ["accepted", "600", "60.0%"]
    assert line(text, "rejected: grounding")[-2:] == ["400", "40.0%"]
    assert line(text, "dropped: duplicate")[-2:] == ["220", "22.0%"]
    assert line(text, "final")[1] == "380"
    assert line(text, "filled from other strata of the same cell")[-1] == "12"
    assert line(text, "short of the 400 wanted")[-1] == "20"
    assert "conflict" not in text


def test_stages_and_places(tmp_path: Path) -> None:
    run = tmp_path / ("a folder whose path is longer than the terminal is wide, " * 2)
    (run / "report").mkdir(parents=True)
    (run / "report" / "index.html").touch()
    text = printed(summary(), run_dir=run)
    assert str(run / "report" / "index.html") in text  # on one line
    assert "adapter" not in text  # paths that do not exist are left out
    assert line(text, "generate ") == ["generate", "2", "of", "3", "20", "4.0", "s", "1,234"]
    assert line(text, "all")[1:] == ["8.0", "s"]
    assert "report/index.html" in printed(summary())


def test_rounds_are_shown_where_there_was_more_than_one() -> None:
    assert "Rounds" not in printed(summary())
    rows = [{"requested": n * 1000, "accepted": n * 100, "kept": n * 10, "final": n} for n in (1, 2, 3)]
    names = ("first run", "second round", "top-up 1")
    text = printed(summary(rounds=[{"name": name, **row} for name, row in zip(names, rows, strict=True)]))
    assert line(text, "first run")[2:] == ["1,000", "100", "10", "1"]
    assert line(text, "second round")[2:] == ["2,000", "200", "20", "2"]
    assert line(text, "top-up 1")[2:] == ["3,000", "300", "30", "3"]
    old = printed(summary(rounds=rows[:2]))  # merged before rounds had names: a run had one, and each top-up another
    assert line(old, "first run")[2:] == ["1,000", "100", "10", "1"] and line(old, "top-up 1")[2] == "2,000"


def test_names_are_not_markup() -> None:
    text = printed(summary())
    assert "demo[bold]" in text
    assert "Creative [red]content[/red]" in text


def test_the_table_fits_80_columns_even_for_an_unfinished_run() -> None:
    value = summary(merge=None, scores=None)
    for text in (printed(summary()), printed(value)):
        assert max(len(row) for row in text.splitlines()) <= 80
    assert "Scores" not in printed(value)


def test_score_text() -> None:
    assert score_text({"value": 1 / 3, "low": 0, "high": 1}) == "0.333 [0.000, 1.000]"
    assert score_text(0.5) == "0.500"
    assert score_text(None) == "-"


def test_scores_by_language_have_a_table_of_their_own() -> None:
    one = {"value": 0.75, "low": 0.5, "high": 0.9}
    scores = {"n": 6, "exact_match": one, "per_language": {"de": {"n": 4, "exact_match": one, "cta": {"value": None}},
                                                           "en": {"n": 2, "exact_match": one}}}  # fmt: skip
    text = printed(summary(scores={"before": None, "after": scores}))
    assert "By language" in text and line(text, "de  ")[:3] == ["de", "4", "0.750"] and line(text, "en  ")[1] == "2"
    assert "By language" not in printed(summary())
