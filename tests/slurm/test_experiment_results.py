"""What is collected of an experiment's runs, and how two runs are compared."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from routenator.domain.calls import Call, calls_text
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.evaluation.folds import stratified_folds
from slurm.experiments.collect import publishable
from slurm.experiments.compare_runs import compare_runs
from slurm.experiments.distribution import population
from tests.conftest import ROOT, TINY
from tests.jobs.world import make_run


def test_rare_categories_are_pooled() -> None:
    row = {"cta": 0.5, "function_accuracy": 1.0, "exact_match": 0.0}
    scores = {
        "per_category": {"poster": {"n": 9, **row}, "odd word": {"n": 1, **row}, "odder": {"n": 3, **row, "cta": 1.0}},
        "confusion_categories": {
            "labels": ["odd word", "odder", "poster"],
            "counts": [[1, 0, 0], [0, 2, 1], [0, 1, 8]],
        },
    }
    found = publishable(scores)
    assert found["per_category"] == {"poster": {"n": 9, **row}, "(other)": {"n": 4, **row, "cta": 0.875}}
    assert found["confusion_categories"] == {"labels": ["(other)", "poster"], "counts": [[3, 1], [1, 8]]}


def test_folds_are_stratified_keyed_and_cover_everything() -> None:
    queries = [f"query {number}" for number in range(101)]
    labels = ["often"] * 80 + ["seldom"] * 21
    folds = stratified_folds(queries, labels, 5, 1)
    for label, least, most in (("often", 16, 16), ("seldom", 4, 5)):
        sizes = [sum(f == fold and one == label for f, one in zip(folds, labels, strict=True)) for fold in range(5)]
        assert min(sizes) >= least and max(sizes) <= most
    assert {folds.count(fold) for fold in range(5)} == {20, 21}
    assert folds != stratified_folds(queries, labels, 5, 2)
    back = stratified_folds(queries[::-1], labels[::-1], 5, 1)
    assert back[::-1] == folds


def test_the_population_adds_up() -> None:
    found = population(load_domain(TINY))
    for shares in found["shares"].values():
        assert sum(shares.values()) == pytest.approx(1)
    buckets = load_domain(TINY).statistics.length_buckets
    for function, words in found["words"].items():
        used = [
            buckets[length] for length, share in load_domain(TINY).statistics.lengths[function].items() if share > 0
        ]
        assert words["min"] == min(low for low, _ in used) and words["max"] == max(high for _, high in used)


def test_runs_whose_domain_has_templates_of_an_earlier_version_can_be_compared(tmp_path: Path) -> None:
    """Only the API is read from their snapshots."""
    runs = [make_run(tmp_path / name) for name in ("first", "second")]
    for run in runs:
        (run.path / "predictions.jsonl").write_text("{}\n")
        shutil.rmtree(run.domain_dir / "templates")
        (run.domain_dir / "templates" / "heuristic").mkdir(parents=True)
        (run.domain_dir / "templates" / "heuristic" / "old.txt").write_text("---\nfunctions: [book]\n---\n{city}\n")
    file = runs[1].domain_dir / "functions.json"
    file.write_text(file.read_text().replace('"book"', '"reserve"'))
    with pytest.raises(InputError, match="different APIs") as error:
        compare_runs(*runs)
    assert error.value.found == "search, reserve" and error.value.expected == "search, book"


def test_comparing_runs_loads_no_model_and_nothing_that_could(tmp_path: Path) -> None:
    """Evaluation stored the similarities of subprompts; the comparison took 17 seconds to import an embedder."""
    run = make_run(tmp_path)
    functions = load_domain(run.domain_dir).functions
    rows = []
    for example in load_golden(run.golden_file, functions):
        (call,) = example.calls
        text = functions[call.name].subprompt
        said = {"name": call.name, "arguments": {**call.arguments, text: "else"}}
        side: dict[str, Any] = {"reply": f"<tool_call>{json.dumps(said)}</tool_call>"}
        if text in call.arguments:
            side["subprompts"] = [{"gold": call.arguments[text], "said": "else", "similarity": 0.5}]
        rows.append({"query": example.query, "after": side})
    (run.path / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code = (
        "import sys\nfrom jobs.plan import Run\nfrom slurm.experiments.compare_runs import compare_runs\n"
        "run = Run.load(sys.argv[1])\nfound = compare_runs(run, run)\nheavy = {'torch', 'transformers', 'sklearn'}\n"
        "print(found['n'], 'ss' in found, heavy & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code, run.path], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(rows)), "True", "set()"]


def test_runs_without_golden_queries_are_compared_on_their_synthetic_hold_out(tmp_path: Path) -> None:
    """The comparison ended with "the golden file is empty"."""
    run, other = (make_run(tmp_path / name) for name in ("run", "other"))
    functions = load_domain(run.domain_dir).functions
    golden = load_golden(run.golden_file, functions)
    folder = run.stage_dir("merge") / "dataset"
    folder.mkdir(parents=True)
    calls = [calls_text([Call(call.name, call.arguments) for call in example.calls]) for example in golden]
    rows = {"query": [example.query for example in golden], "calls": calls, "hidden": [None] * len(golden)}
    pl.DataFrame(rows, schema_overrides={"hidden": pl.List(pl.String)}).write_parquet(folder / "validation.parquet")
    (run.path / "dataset").symlink_to(folder)
    lines = [json.dumps({"query": example.query, "after": {"reply": "No."}}) for example in golden]
    for each in (run, other):
        (each.path / "predictions.jsonl").write_text("\n".join(lines) + "\n")
    run.golden_file.write_text("# none yet\n")
    found = compare_runs(run, run)
    assert found["n"] == len(golden) and found["exact_match"]["difference"]["value"] == 0
    with pytest.raises(InputError, match="different kinds of queries") as error:
        compare_runs(run, other)
    assert (error.value.found, error.value.expected) == ("golden queries", "a synthetic hold-out")
