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
from jobs.results import gather
from jobs.stages import DATA_STAGES
from jobs.task import Task
from routenator.errors import CorruptShardError, StageError
from routenator.files import read_json, write_atomic, write_json
from routenator.report import listing
from routenator.report.listing import data_listing, failure_listing
from routenator.report.page import render
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


def prediction(query: str, gold: list[dict[str, Any]], said: list[dict[str, Any]], *errors: str) -> dict[str, Any]:
    """A row of predictions.jsonl: the answers before training, after it, and with restricted replies."""
    answer = {
        "calls": said,
        "exact": not errors,
        "errors": [{"kind": kind, "parameter": "content_type" if kind == "wrong_value" else ""} for kind in errors],
        "problem": None,
        "reply": json.dumps(said) if said else "I cannot do that.",
    }
    return {"query": query, "gold": gold, "before": {**answer, "exact": False}, "after": answer}


def search(content_type: str) -> dict[str, Any]:
    return {"name": "search", "arguments": {"content_type": content_type, "extracted_prompt": "red kite"}}


PREDICTIONS = [
    prediction("a logo with a red kite", [search("logo")], [search("poster")], "wrong_value"),
    prediction("a poster with a red kite", [search("poster")], [search("poster")]),
    prediction(f"a card {NASTY}", [search("card")], [], "missing_call"),
    prediction("hello", [], [search("card")], "extra_call"),
]


def finished(
    folder: Path,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    baselines: dict[str, Any] | None = None,
) -> Run:
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
    scores = {"before": before, "after": after or side(0.9), "guided": side(0.95), "baselines": baselines or {}}
    write_json(evaluate.dir / "scores.json", scores)
    write_atomic(evaluate.dir / "predictions.jsonl", "".join(json.dumps(row) + "\n" for row in PREDICTIONS))
    names = ("scores.json", "predictions.jsonl")
    evaluate.commit({name: evaluate.dir / name for name in names}, rows=5)
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
    assert not {"link", "img", "iframe", "object", "audio", "video", "source"} & {tag for tag, _ in page.elements}
    for tag, attributes in page.elements:
        assert not {"src", "srcset", "data", "xlink:href"} & attributes.keys(), tag
        assert not any(name.startswith("on") for name in attributes), tag
        assert (attributes.get("href") or "#").startswith("#"), tag
    policies = [attributes for tag, attributes in page.elements if tag == "meta" and "http-equiv" in attributes]
    assert [(policy.get("content") or "").split(";")[0] for policy in policies] == ["default-src 'none'"]
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


def rows_of(page: str, name: str) -> list[dict[str, Any]]:
    """The rows of a listing as the page holds them, by field."""
    text = page.partition('<script type="application/json" id="rows">')[2].partition("</script>")[0]
    listing = json.loads(text)[name]
    picks = {int(place): names for place, names in listing["picks"].items()}
    return [
        {
            label: [picks[place][number] for number in cell] if kind == "pick" else cell
            for place, ((label, kind), cell) in enumerate(zip(listing["fields"], row, strict=True))
        }
        for row in listing["rows"]
    ]


def test_queries_are_data_as_they_are_and_never_markup(reported: Run) -> None:
    text = (reported.path / "report" / "index.html").read_text()
    assert NASTY not in text and "<img" not in text
    for name in ("data", "failures"):
        assert any(NASTY in row["query"] for row in rows_of(text, name))
    assert [tag for tag, _ in Page(text).elements].count("script") == 2


def test_all_rows_are_there_with_what_they_are_filtered_by(reported: Run) -> None:
    import polars as pl

    rows = rows_of((reported.path / "report" / "index.html").read_text(), "data")
    folder = reported.stage_dir("merge") / "dataset"
    for split in ("train", "validation", "rejected"):
        frame = pl.read_parquet(folder / f"{split}.parquet").sort("index")
        shown = [row for row in rows if row["set"] == [split]]
        assert [row["query"] for row in shown] == frame["query"].to_list()
        if split != "rejected":
            for name in ("route", "function", "category", "language"):
                assert [row[name] for row in shown] == [[value] for value in frame[name]]
            assert [row["calls"] for row in shown] == frame["calls"].to_list()
            continue
        assert [row["reason"] for row in shown] == [[reason] for reason in frame["reason"]]
        candidates = pl.concat(
            [pl.read_parquet(file) for file in sorted(reported.stage_dir("generate").glob("*.parquet"))]
        )
        known = {row["index"]: row for row in candidates.iter_rows(named=True)}
        for index, row in zip(frame["index"], shown, strict=True):
            assert [row["route"], row["function"]] == [[known[index]["route"]], [known[index]["function"]]]
        assert all("quota" in row["why"] for row in shown if row["reason"] == ["surplus"])


def test_wrong_answers_are_listed_with_the_nearest_training_example(reported: Run) -> None:
    text = (reported.path / "report" / "index.html").read_text()
    wrong = rows_of(text, "failures")
    assert [row["query"] for row in wrong] == ["a logo with a red kite", f"a card {NASTY}", "hello"]
    assert json.loads(wrong[0]["wanted"]) == [search("logo")] and json.loads(wrong[0]["answered"]) == [search("poster")]
    assert (wrong[0]["error"], wrong[0]["parameter"]) == (["wrong_value"], ["content_type"])
    assert (wrong[0]["function"], wrong[0]["category"]) == (["search"], ["logo"])
    assert (wrong[1]["answered"], wrong[1]["reply"]) == (None, "I cannot do that.")
    assert (wrong[2]["wanted"], wrong[2]["function"], wrong[2]["category"]) == ("no call", ["none"], [])
    train = {row["query"]: row["calls"] for row in rows_of(text, "data") if row["set"] == ["train"]}
    assert train[wrong[0]["nearest example"]] == wrong[0]["its calls"]
    heads = [head.partition("<")[0] for head in text.split("<h2 id=")[1:]]
    assert "Wrong answers" in heads[0]


def test_metrics_and_labels_are_explained_and_baselines_drawn(tmp_path: Path) -> None:
    after = side(0.9)
    after["confusion"] = {"labels": ["search", "(none)"], "counts": [[2, 1], [0, 0]]}
    after["confusion_categories"] = {"labels": ["logo", "(other)"], "counts": [[2, 1], [0, 0]]}
    run = finished(tmp_path, after=after, baselines={"majority": side(0.25)})
    jobs.report.run(Task(run, "report", 0))
    text = (run.stage_dir("report") / "report" / "index.html").read_text()
    assert "Content-type accuracy, baseline: majority: 0.250 [0.200, 0.300]" in text
    words = " ".join(Page(text).text.split())
    for part in (
        "Exact call match share of queries with every call and every argument right",
        "(none): a reply that cannot be read, or a function that the API does not have.",
        "(other): content types that the golden queries do not have",
    ):
        assert part in words.replace("matchshare", "match share")


def test_a_missing_row_is_said_once(reported: Run) -> None:
    """One missing row stood in the note, in the table of strata and in a table of every dimension."""
    summary = read_json(reported.path / "report" / "summary.json")
    summary["counts"] |= {"missing": 1, "wanted": 4321}
    summary["scores"] = {"before": None, "after": None}  # one of the kinds of wrong calls is called missing
    stratum = {"function": "search", "category": "logo", "route": "text", "template": "text/a", "length": "short"}
    summary["deficits"] = [{**stratum, "language": "en", "missing": 1}, {**stratum, "language": "de", "missing": 0}]
    words = " ".join(Page(render(summary)).text.split())
    assert words.count("missing") == 1
    assert (
        "1 of the 4,321 wanted rows is missing; topup requests it: 1 \u00d7 search, logo, text, text/a, short, en"
        in words
    )


def test_a_run_that_ends_with_its_data_set_has_a_report(tmp_path: Path) -> None:
    """`--until merge` made no page, so the data could not be looked at before training."""
    run = make_run(tmp_path, planned=(*DATA_STAGES, "report"))
    generate(run, [candidate(request) for request in sample(run)])
    merge(run)
    assert tuple(run.plan.stages) == ("sample", "generate", "merge", "report")
    jobs.report.run(Task(run, "report", 0))
    text = (run.stage_dir("report") / "report" / "index.html").read_text()
    assert rows_of(text, "data") and "Wrong answers" not in text
    assert "adapter" not in Page(text).text and "dataset/" in Page(text).text


def test_a_run_of_an_earlier_version_has_a_page_too() -> None:
    """Rows had one call, and the gold set too."""
    call = search("logo")
    old = {"query": "q", "gold": call, "after": {"call": None, "exact": False, "errors": [], "reply": "?"}}
    (row,) = failure_listing([old], {}, []).rows
    assert row[:4] == ["q", json.dumps([call]), None, "?"]


def test_listings_show_the_day_that_a_prompt_stated(tmp_path: Path) -> None:
    """A date is right or wrong only beside the day that it is relative to."""
    import polars as pl

    said = "Today is Tuesday, 2026-03-03. tomorrow"
    answer = {"calls": [], "exact": False, "errors": [], "reply": "?"}
    row = {"query": "tomorrow", "today": "2026-03-03", "gold": [search("logo")], "after": answer}
    assert failure_listing([row], {}, []).rows[0][0] == said
    assert "language" not in failure_listing([row], {}, []).fields
    spoken = failure_listing([{**row, "language": "de"}], {}, [])
    assert list(spoken.fields)[-1] == "language" and spoken.rows[0][-1] == "de"
    rows = {"index": [0, 1], "query": ["tomorrow", "now"], "today": ["2026-03-03", None], "calls": ["[]", "[]"]}
    pl.DataFrame(rows).write_parquet(tmp_path / "train.parquet")
    assert {row[0] for row in data_listing(tmp_path, [], {}, seed=7).rows} == {said, "now"}


def test_a_listing_is_a_sample_that_does_not_depend_on_the_files(tmp_path: Path) -> None:
    import polars as pl

    frame = pl.DataFrame({"index": range(1000), "query": [f"query {n}" for n in range(1000)], "calls": "[]"})
    found = []
    for parts in (1, 3):
        folder = tmp_path / str(parts)
        folder.mkdir()
        size = -(-1000 // parts)
        for number in range(parts):
            name = "train.parquet" if parts == 1 else f"train-{number:05d}-of-{parts:05d}.parquet"
            frame.slice(number * size, size).write_parquet(folder / name)
        listing = data_listing(folder, [], {}, seed=7, most=100)
        assert (listing.total, len(listing.rows)) == (1000, 100)
        found.append([row[0] for row in listing.rows])
    assert found[0] == found[1] != [f"query {n}" for n in range(100)]
    assert [row[0] for row in data_listing(folder, [], {}, seed=8, most=100).rows] != found[0]


def test_a_listing_of_too_much_text_is_a_sample_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was cut at its end, and what was left was called a random sample."""
    import polars as pl

    frame = pl.DataFrame({"index": range(1000), "query": [f"query {n:03}" for n in range(1000)], "calls": "[]"})
    frame.write_parquet(tmp_path / "train.parquet")
    monkeypatch.setattr(listing, "_MOST_BYTES", 1100)
    rows = [row[0] for row in data_listing(tmp_path, [], {}, seed=7).rows]
    assert len(rows) == 100 and rows == sorted(rows) and rows[-1] > "query 900"


def test_wrong_answers_that_are_left_out_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST", 2)
    found = failure_listing(PREDICTIONS, {}, [])
    assert (len(found.rows), found.total) == (2, 3)


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
        "Wrong answers on the golden set",
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
    run = make_run(tmp_path, 2)
    assert gather(run)["seconds"] == 0
    render(gather(run))
    metrics = {"requested": 3, "generated": 3, "accepted": 2, "rejected": {"x": 1}}
    generate(run, [candidate(request) for request in sample(run)], metrics=metrics)
    summary = gather(run)
    assert summary["counts"]["accepted"] == 4
    assert summary["examples"] == []
    page = Page(render(summary))
    assert "From request to example" in page.text
    assert "script" not in {tag for tag, _ in page.elements}
    print_summary(summary, Console(file=io.StringIO()))


def test_a_changed_score_file_is_noticed(tmp_path: Path) -> None:
    run = finished(tmp_path)
    file = run.stage_dir("evaluate") / "scores.json"
    file.write_text(file.read_text().replace("0.9", "0.8"))
    with pytest.raises(CorruptShardError, match="evaluate shard 0"):
        jobs.report.run(Task(run, "report", 0))
