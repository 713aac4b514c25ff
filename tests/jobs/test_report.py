"""The report of a run whose stages are done: figures that agree with the files, and a page that needs no other file."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import jobs.report
from jobs.plan import Run
from jobs.task import Task
from routenator.errors import CorruptShardError, StageError
from routenator.files import read_json, write_atomic, write_json
from routenator.report.table import print_summary
from tests.jobs.world import candidate, generate, make_run, merge, sample

NASTY = '<img src=x onerror=alert(1)> & "q"'


def score(value: float) -> dict[str, float]:
    return {"value": value, "low": max(0.0, value - 0.05), "high": min(1.0, value + 0.05)}


def side(value: float) -> dict[str, Any]:
    names = ("function_f1_macro", "function_f1_micro", "cta", "ss", "exact_match", "unparsable")
    return {
        **{name: score(value) for name in names},
        "per_function": {
            "search": {"precision": value, "f1": value, "n": 3},
            "book": {"precision": value, "f1": value, "n": 2},
        },
        "per_category": {"poster": {"n": 4, "cta": value, "function_accuracy": value, "exact_match": value / 2}},
        "confusion_categories": {"labels": ["logo", "poster"], "counts": [[2, 0], [3, 1]]},
        "latency": {"mean": value, "p50": value + 1, "p95": value + 2, "at_once": 5},
        "confusion": {"labels": ["search", "book", "none"], "counts": [[2, 1, 0], [0, 1, 1], [0, 0, 0]]},
        "errors": {"enum": 4, "missing": 1},
        "n": 5,
        "seconds": 2.5,
        "queries_per_second": 2.0,
        "prompt": "compact",
    }


def finished(folder: Path, before: dict[str, Any] | None = None) -> Run:
    """A run with all stages but the report; train and evaluate are imitated by their files."""
    run = make_run(folder, 2)
    rows = []
    for request in sample(run):
        row = candidate(request, query=f"{request['draft']} n{request['index']}")
        if row["index"] % 7 == 0:
            row.update(accepted=False, reason="grounding")
        if row["route"] == "vision":
            row["query"] += f" {NASTY}"
        rows.append(row)
    generate(run, rows, metrics={"requested": 1, "tokens": 500, "tokens_per_second": 250.0})
    merge(run)
    train = Task(run, "train", 0)
    file = train.dir / "training.jsonl"
    write_atomic(file, "".join(json.dumps({"step": n, "loss": 2 / n, "grad_norm": 0.1}) + "\n" for n in range(1, 30)))
    train.commit({"training": file}, rows=29, metrics={"tokens_per_second": 900.0})
    evaluate = Task(run, "evaluate", 0)
    write_json(evaluate.dir / "scores.json", {"before": before, "after": side(0.9), "guided": side(0.95)})
    evaluate.commit({"scores": evaluate.dir / "scores.json"}, rows=5)
    return run


class Page(HTMLParser):
    """The content of a page: elements with attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = finished(tmp_path_factory.mktemp("report"), before=side(0.4))
    jobs.report.run(Task(run, "report", 0))
    run.publish("report")
    return run


def test_figures_agree_with_the_stages(reported: Run) -> None:
    summary = read_json(reported.path / "report" / "summary.json")
    assert summary["counts"] == read_json(reported.stage_dir("merge") / "merge.json")["counts"]
    assert summary["counts"]["rejected"]["grounding"] > 0
    assert [stage["stage"] for stage in summary["stages"]] == ["sample", "generate", "merge", "train", "evaluate"]
    assert all(stage["done"] == stage["shards"] for stage in summary["stages"])
    assert summary["generate"]["tokens"] == 1000
    assert summary["generate"]["tokens_per_second"] == 250.0
    assert summary["training"]["rows"] == 29
    assert summary["scores"]["after"]["cta"]["value"] == 0.9
    assert len(summary["examples"]) == 30
    assert (summary["run"]["title"], summary["run"]["fingerprint"]) == ("A tiny domain for tests", "abcdef012345")


def test_the_page_asks_for_nothing_else(reported: Run) -> None:
    page = Page((reported.path / "report" / "index.html").read_text())
    assert not {"script", "link", "img", "iframe", "object", "audio", "video", "source"} & {
        tag for tag, _ in page.elements
    }
    for tag, attributes in page.elements:
        assert not {"src", "href", "srcset", "data", "xlink:href"} & attributes.keys(), tag
        assert not any(name.startswith("on") for name in attributes), tag
    text = (reported.path / "report" / "index.html").read_text()
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_content_types_their_confusions_and_latency_are_shown(reported: Run) -> None:
    page = "".join(Page((reported.path / "report" / "index.html").read_text()).text.split())
    assert (
        "Bycontenttypecontenttypequeriesaccuracybeforeaccuracyafteraccuracyguidedexactposter40.4000.9000.9500.450"
        in page
    )
    assert "3×postertakenforlogo" in page
    assert "Secondsperquery,mean0.4000.9000.950median1.4001.9001.95095thpercentile2.4002.9002.950" in page


def test_queries_are_shown_as_they_are(reported: Run) -> None:
    page = Page((reported.path / "report" / "index.html").read_text())
    assert NASTY in page.text


def test_the_page_holds_what_it_promises(reported: Run) -> None:
    text = (reported.path / "report" / "index.html").read_text()
    page = Page(text)
    charts = [element for element in page.elements if element[0] == "svg"]
    # scores, two confusions, steps, rejections, five dimensions, words, two positions, loss, stages
    assert len(charts) == 15
    for heading in (
        "Scores on the golden set",
        "Distribution: target, requested, accepted, final",
        "Distance from the target",
        "Where rows are lost",
        "30 examples",
        "Training loss",
        "Rejected, by reason",
    ):
        assert heading in page.text
    assert "1 \u00d7 search taken for book" in page.text
    assert "0.900 [0.850,\u00a00.950]" in page.text
    assert "prefers-color-scheme: dark" in text
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.elements


def test_every_element_is_closed(reported: Run) -> None:
    stack: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag != "meta":
                stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert stack.pop() == tag

    Balance().feed((reported.path / "report" / "index.html").read_text())
    assert stack == []


def test_without_scores_before_training(tmp_path: Path) -> None:
    run = finished(tmp_path)
    jobs.report.run(Task(run, "report", 0))
    folder = run.stage_dir("report") / "report"
    page = Page((folder / "index.html").read_text())
    assert "The untrained model was not scored." in page.text
    stream = io.StringIO()
    print_summary(read_json(folder / "summary.json"), Console(file=stream, width=80), run.path)
    assert "0.900 [0.850, 0.950]" in stream.getvalue()


def test_a_stage_that_is_not_done_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    generate(run, [candidate(request) for request in sample(run)])
    with pytest.raises(StageError, match="evaluate shard 0 is not done"):
        jobs.report.run(Task(run, "report", 0))


def test_gather_shows_a_run_that_has_not_ended(tmp_path: Path) -> None:
    from routenator.report.page import render

    run = make_run(tmp_path, 2)
    assert jobs.report.gather(run)["seconds"] == 0
    render(jobs.report.gather(run))
    metrics = {"requested": 3, "generated": 3, "accepted": 2, "rejected": {"x": 1}}
    generate(run, [candidate(request) for request in sample(run)], metrics=metrics)
    summary = jobs.report.gather(run)
    assert summary["counts"]["accepted"] == 4
    assert summary["examples"] == []
    page = Page(render(summary))
    assert "From request to example" in page.text
    assert not [element for element in page.elements if element == ("table", {"class": "examples"})]
    print_summary(summary, Console(file=io.StringIO()))


def test_a_changed_score_file_is_noticed(tmp_path: Path) -> None:
    run = finished(tmp_path)
    file = run.stage_dir("evaluate") / "scores.json"
    file.write_text(file.read_text().replace("0.9", "0.8"))
    with pytest.raises(CorruptShardError, match="evaluate shard 0"):
        jobs.report.run(Task(run, "report", 0))
