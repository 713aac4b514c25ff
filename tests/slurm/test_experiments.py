"""Experiments: configs, sharing of this machine, collecting of results, and one small experiment end to end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest
import yaml
from pydantic import ValidationError
from typer.testing import CliRunner

from launch import app
from routenator.authoring.door.init import init_domain
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.evaluation.folds import stratified_folds
from routenator.files import sha256_file
from routenator.trust import TrustError
from slurm.commands.runs import compose_plan
from slurm.experiments import planned
from slurm.experiments.collect import publishable
from slurm.experiments.compare_runs import compare_runs
from slurm.experiments.config import Arm, Experiment, load_experiment, run_config
from slurm.experiments.distribution import population
from slurm.experiments.planned import arm_domain, entries_of
from slurm.experiments.runner import Ended, Work, cores, run_all, why
from slurm.experiments.table import render_table
from tests.conftest import ROOT, TINY, launch_here
from tests.jobs.world import make_run
from tests.routenator.door_documents import write_document
from tests.routenator.tiny_model import save_tiny_model


def world(folder: Path, model: str | None = None, **changes: Any) -> Path:
    """An experiment of two arms on the tiny domain, and its base; the file."""
    engine = {"model": model or "package:smollm2-135m-instruct"}
    base = {
        "name": "tiny",
        "domain": str(TINY),
        "root": str(folder / "runs"),
        "cluster": "local",
        "dataset": {"size": 60, "validation_share": 0},
        "generate": {"routes": {"heuristic": 1}, "refill": 0},
        "checks": {"length": False},
        "model": {"generator": engine, "trainee": engine["model"], "embedder": "package:all-minilm-l6-v2"},
        "train": {"prompt": "compact", "method": "lora", "deepspeed": False, "max_steps": 2, "batch_size": 2},
        "evaluate": {"engine": "transformers", "before": False, "baselines": False, "max_new_tokens": 8},
    }
    experiment = {
        "name": "try",
        "question": "Does it work?",
        "base": str(folder / "base.yaml"),
        "seeds": [1],
        "reference": "plain",
        "arms": {"plain": {}, "more": {"title": "more steps", "set": {"train.max_steps": 3}}},
        **changes,
    }
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    (folder / "try.yaml").write_text(yaml.safe_dump(experiment, sort_keys=False))
    return folder / "try.yaml"


def test_the_experiments_that_come_with_it_are_whole() -> None:
    for file in sorted((ROOT / "configs" / "experiments").glob("*.yaml")):
        experiment = load_experiment(file.stem)
        assert experiment.name == file.stem
        for arm in experiment.arms or [None]:  # type: ignore[list-item]
            run_config(experiment, arm, {"seed": 1})


@pytest.mark.slow
def test_methods_are_compared_on_one_data_set_and_epochs_on_that_of_sizes(tmp_path: Path) -> None:
    """Otherwise chance in the rows would be taken for a difference between methods or epochs."""
    root = [f"root={tmp_path}", "seeds=[1]"]
    methods = entries_of(load_experiment("methods", root))
    assert {entry.plan.config.train.method for entry in methods} == {"qlora", "lora", "prompt"}
    assert len({entry.plan.stages["merge"].fingerprint for entry in methods}) == 1
    assert len({entry.plan.stages["train"].fingerprint for entry in methods}) == 3
    merges = {
        entry.arm: entry.plan.stages["merge"].fingerprint for entry in entries_of(load_experiment("epochs", root))
    }
    sizes = {entry.arm: entry.plan.stages["merge"].fingerprint for entry in entries_of(load_experiment("sizes", root))}
    assert merges["plain-1"] == merges["plain-4"] == sizes["heuristic-only-1500"]
    assert merges["routed-1"] == merges["routed-4"] == sizes["routed-1500"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": {}}, "needs? some|no arms"),
        ({"kind": "ceiling"}, "has no arms"),
        ({"reference": "plian"}, "not one of the arms"),
        ({"seeds": [1, 1]}, "twice"),
        ({"set": {"seed": 3}}, "the experiment sets it"),
        ({"arms": {"plain": {"set": {"cluster": "slurm"}}}}, "the experiment sets it"),
        ({"arms": {"plain": {"derive": {"golden": "x.jsonl"}}}}, "an arm cannot set"),
        ({"fit": "first.jsonl"}, "needs kind: distribution"),
        ({"fit": "first.jsonl", "kind": "distribution", "reference": None}, "with the queries to compare with"),
        ({"measures": ["accuracy"]}, "function_f1_macro"),
        ({"question": None}, "question"),
    ],
)
def test_bad_configs_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_experiment(str(world(tmp_path, **changes)))


def test_unknown_names_get_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nearest: +train"):
        load_experiment(str(world(tmp_path)), ["trian.epochs=1"])
    with pytest.raises(InputError, match=r"nearest: +ablation-assistant"):
        load_experiment("ablation-asistant")
    experiment = load_experiment(str(world(tmp_path, set={"train.epoch": 1})))
    with pytest.raises(InputError, match=r"nearest: +epochs"):
        run_config(experiment, "plain", {})


def test_settings_reach_the_runs_and_arms_override_them(tmp_path: Path) -> None:
    file = world(tmp_path, set={"train.max_steps": 9, "train.learning_rate": 1e-5})
    experiment = load_experiment(str(file), ["dataset.size=30", "seeds=[4, 5]"])
    assert experiment.seeds == [4, 5]
    plain, _ = run_config(experiment, "plain", {})
    more, _ = run_config(experiment, "more", {})
    assert (plain.train.max_steps, more.train.max_steps) == (9, 3)
    assert plain.train.learning_rate == 1e-5 and plain.dataset.size == 30


def test_runs_of_one_command_share_a_copy_of_the_domain(tmp_path: Path) -> None:
    experiment = load_experiment(str(world(tmp_path)), ["seeds=[1, 2]"])
    entries = entries_of(experiment)
    assert [(entry.arm, entry.seed) for entry in entries] == [("plain", 1), ("more", 1), ("plain", 2), ("more", 2)]
    (domain,) = {entry.plan.config.domain for entry in entries}
    assert Path(domain).parent == tmp_path / "runs" / "domains"
    assert load_domain(domain).functions.keys() == load_domain(TINY).functions.keys()
    stages = [entry.plan.stages for entry in entries]
    assert stages[0]["merge"] == stages[1]["merge"] and stages[0]["train"] != stages[1]["train"]
    assert stages[0]["sample"] != stages[2]["sample"]
    assert list(entries[0].missing()) == ["sample", "generate", "merge", "train", "evaluate"]


@pytest.mark.parametrize("changes", [{}, {"kind": "distribution", "reference": None}])
def test_a_run_s_command_makes_the_run_that_was_planned(tmp_path: Path, changes: dict[str, Any]) -> None:
    entry = entries_of(load_experiment(str(world(tmp_path, **changes))))[0]
    config, *options = entry.command(tmp_path)[entry.command(tmp_path).index("run") + 1 :]
    until = options[options.index("--until") + 1] if options else None
    assert compose_plan(config, [], submitting=False, until=until).fingerprint == entry.plan.fingerprint


def test_derived_domains_are_named_by_what_is_in_them(tmp_path: Path) -> None:
    arms = {"flat": {"derive": {"flat": True}}, "same": {"derive": {"flat": True}, "set": {"train.max_steps": 3}}}
    experiment = load_experiment(str(world(tmp_path, arms=arms, reference=None)))
    first, again = (
        arm_domain("try", "flat", experiment.arms["flat"], TINY, TINY / "golden.jsonl", tmp_path) for _ in range(2)
    )
    assert first == again and first[1].is_file()
    (record,) = (tmp_path / "domains").glob(".derived-*")
    assert sorted((tmp_path / "domains").iterdir()) == [record, first[0]]
    with open(first[0] / "statistics.yaml", "a", encoding="utf-8") as file:
        file.write("# edited\n")
    with pytest.raises(InputError, match="changed after it was made"):
        arm_domain("try", "flat", experiment.arms["flat"], TINY, TINY / "golden.jsonl", tmp_path)


def test_a_domain_is_derived_once_for_each_version_of_what_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call of `experiment`, also one with --collect, derived the domains of all arms again."""
    base = tmp_path / "base"
    shutil.copytree(TINY, base)
    arm, golden, calls = Arm.model_validate({"derive": {"flat": True}}), base / "golden.jsonl", []
    derive = planned.make_domain
    monkeypatch.setattr(planned, "make_domain", lambda *given: (calls.append(given), derive(*given)))

    def made(times: int, arm: Arm = arm) -> Path:
        calls.clear()
        place, own_golden = arm_domain("try", "flat", arm, base, golden, tmp_path)
        assert len(calls) == times and own_golden.is_file()
        return place

    first = made(1)
    assert made(0) == first
    assert made(1, Arm.model_validate({"derive": {"flat": True, "templates": ["*"]}})) == first, "in other words"
    with monkeypatch.context() as changed:
        changed.setattr(planned, "code_folders", lambda: {"routenator": tmp_path / "base"})
        assert made(1) == first and made(0) == first
    shutil.rmtree(first)
    assert made(1) == first
    # A record that somebody else could have written is not believed, and replaced.
    for record in (tmp_path / "domains").glob(".derived-*"):
        record.chmod(0o666)
    assert made(1) == first and made(0) == first
    lines = golden.read_text().splitlines(keepends=True)
    golden.write_text("".join(lines[:-1]))
    shorter = made(1)
    assert shorter != first
    (base / "statistics.yaml").write_text((base / "statistics.yaml").read_text() + "# newer\n")
    assert made(1) == shorter, "statistics are written anew"
    file = shorter / "golden.jsonl"
    file.write_text("")
    with pytest.raises(InputError, match="changed after it was made"):
        made(0)


@pytest.mark.slow
def test_an_arm_may_be_made_by_domain_init_from_the_base_s_functions_and_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pattern and a value list that somebody wrote are not in it. It is made once, and believed while it is ours."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    base = tmp_path / "base"
    init_domain(str(write_document("MCP", tmp_path)), base)
    patterns = base / "templates" / "heuristic" / "add_book.yaml"
    patterns.write_text(patterns.read_text("utf-8").replace("text: ", "text: kindly ", 1), "utf-8")
    made, golden = arm_domain("try", "door", Arm(init=True), base, base / "golden.jsonl", tmp_path)
    assert (made, golden) == arm_domain("try", "door", Arm(init=True), base, base / "golden.jsonl", tmp_path)
    assert made.name.startswith("try-door-") and golden.read_bytes() == (base / "golden.jsonl").read_bytes()
    assert "kindly" not in (made / "templates" / "heuristic" / "add_book.yaml").read_text("utf-8")
    assert load_domain(made).functions == load_domain(base).functions
    (described,) = (tmp_path / "domains").glob(".init-*")
    assert sorted((tmp_path / "domains").iterdir()) == sorted([described, made])
    # Made again by another version of any module or package that it comes from; only the door's own modules counted.
    with monkeypatch.context() as changed:
        changed.setattr(planned, "version", lambda name: "another")
        assert arm_domain("try", "door", Arm(init=True), base, base / "golden.jsonl", tmp_path) == (made, golden)
    assert len(list((tmp_path / "domains").glob(".init-*"))) == 2
    described.chmod(0o777)
    with pytest.raises(TrustError, match="could have been written by somebody else"):
        arm_domain("try", "door", Arm(init=True), base, base / "golden.jsonl", tmp_path)
    with pytest.raises(ValidationError, match="init and derive cannot be combined"):
        Experiment.model_validate(
            {"name": "x", "question": "?", "base": "b", "arms": {"a": {"init": True, "derive": {"flat": True}}}}
        )


def test_routes_that_would_not_count_are_refused(tmp_path: Path) -> None:
    arms = {"only": {"derive": {"flat": True, "routes": {"heuristic": 1}}}}
    experiment = load_experiment(str(world(tmp_path, arms=arms, reference=None)))
    with pytest.raises(InputError, match=r"generate\.routes: null"):
        entries_of(experiment)


def test_a_dry_run_shows_what_was_asked_for_and_refuses_what_the_run_would(tmp_path: Path) -> None:
    def dry(*given: str) -> tuple[int, str]:
        result = CliRunner().invoke(
            app, ["experiment", str(tmp_path / "try.yaml"), "--dry-run", *given], env={"COLUMNS": "200"}
        )
        return result.exit_code, result.output

    world(tmp_path)
    before = sorted(tmp_path.iterdir())
    code, out = dry("seeds=[1, 2]", "dataset.size=30")
    assert code == 0 and out.count("dataset.size=30") == 4
    code, out = dry("--arm", "more")
    assert code == 0 and "name=try-more" in out and "name=try-plain" not in out
    code, out = dry("--arm", "moer")
    assert code == 2 and "nearest:  more" in out
    code, out = dry(f"golden={tmp_path / 'none.jsonl'}")
    assert code == 2 and "the golden file is missing" in out
    world(tmp_path, arms={"plain": {"derive": {"routes": {"heuristic": 1}}}})
    code, out = dry()
    assert code == 2 and "overrides the routes" in out
    assert sorted(tmp_path.iterdir()) == before


def test_a_run_may_end_before_the_report(tmp_path: Path) -> None:
    world(tmp_path)
    assert list(compose_plan(str(tmp_path / "base.yaml"), [], False, "merge").stages) == [
        "sample", "generate", "merge", "report",
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"nearest: +merge"):
        compose_plan(str(tmp_path / "base.yaml"), [], False, "merg")


class Sleep:
    """A piece of work that runs a shell command and needs no models."""

    def __init__(self, folder: Path, name: str, line: str, makes: str | None = None) -> None:
        self.name, self.line, self.done, self.makes = name, line, folder / f"{name}.done", folder / (makes or name)

    def missing(self) -> dict[str, Path]:
        return {} if self.done.is_file() else {"it": self.makes}

    def command(self, folder: Path) -> list[str]:
        copied = "test -f ${PYTHONPATH%%:*}/slurm/commands/main.py"
        return ["sh", "-c", f"{copied} && {self.line} && date +%s.%N > {self.done}"]

    def failure(self) -> str | None:
        return None

    def summary(self) -> str:
        return "slept"


def test_a_failure_stops_no_other_and_is_explained(tmp_path: Path) -> None:
    works = [Sleep(tmp_path, "bad", "echo error: no such thing; false"), Sleep(tmp_path, "good", "true")]
    told: list[Ended] = []
    ended = run_all(works, tmp_path / "x", 1, told=told.append, began=lambda work, log: None)
    assert [(one.work.name, one.code) for one in ended] == [("bad", 1), ("good", 0)] and told == ended
    assert why(ended[0]) == "error: no such thing"
    assert ended[0].left_s is not None and ended[1].left_s is None


def test_two_that_write_the_same_directory_do_not_run_at_once(tmp_path: Path) -> None:
    line = 'echo "$$ $(date +%s.%N)" >> LOG; sleep 0.5; date +%s.%N >> LOG'.replace("LOG", str(tmp_path / "log"))
    works: list[Work] = [Sleep(tmp_path, "a", line, "shared"), Sleep(tmp_path, "b", line, "shared")]
    run_all(works, tmp_path / "x", 2, told=lambda one: None, began=lambda work, log: None)
    times = [float(text.split()[-1]) for text in (tmp_path / "log").read_text().splitlines()]
    assert len(times) == 4 and times == sorted(times) and times[2] - times[0] >= 0.5


def test_each_run_has_its_own_cores(tmp_path: Path) -> None:
    every = os.sched_getaffinity(0)
    assert set().union(*(cores(slot, 2) for slot in range(2))) == every
    if len(every) > 1:
        assert not cores(0, 2) & cores(1, 2)
    assert cores(0, 2 * len(every)) <= every
    line = f"{sys.executable} -c 'import os; print(sorted(os.sched_getaffinity(0)))' > {tmp_path}/cores"
    run_all([Sleep(tmp_path, "a", line)], tmp_path / "x", 2, told=lambda one: None, began=lambda work, log: None)
    assert json.loads((tmp_path / "cores").read_text()) == sorted(cores(0, 2))


def test_a_signal_ends_the_children(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom tests.slurm.test_experiments import Sleep\n"
        "from slurm.experiments.runner import run_all\n"
        "folder = Path(sys.argv[1])\n"
        "work = Sleep(folder, 'a', f'echo $$ > {folder}/pid; sleep 60')\n"
        "run_all([work], folder / 'x', 1, told=print, began=print)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 180
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=180)
    assert b"Stopped" in words
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


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


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return launch_here("experiment", *arguments)


@pytest.mark.slow
def test_an_experiment_from_config_to_table(tmp_path: Path) -> None:
    """Two arms share their data; repeating the command does nothing, and the results contain no query."""
    file = str(world(tmp_path, model=str(save_tiny_model(tmp_path / "model"))))
    results = tmp_path / "results"
    assert launch(file, "--collect", "--results", str(results)).returncode == 1
    assert launch(file, "--results", str(results)).returncode == 0
    found = json.loads((results / "try" / "results.json").read_text())
    assert [run["arm"] for run in found["runs"]] == ["plain", "more"] and not found["missing"]
    assert [run["training"]["steps"] for run in found["runs"]] == [2, 3]
    golden = [json.loads(line)["query"] for line in (TINY / "golden.jsonl").read_text().splitlines() if line.strip()]
    assert found["runs"][0]["queries"]["golden_index"] == list(range(len(golden)))
    for name in ("results.json", "table.md", "provenance.json"):
        assert not any(query in (results / "try" / name).read_text() for query in golden)
    origin = json.loads((results / "try" / "provenance.json").read_text())
    assert origin["golden"][0]["rows"] == len(golden) and origin["seeds"] == [1]
    assert (results / "try" / "table.md").read_text() == render_table(found, origin)
    assert "plain against more steps: " in (results / "try" / "table.md").read_text()
    ElementTree.fromstring((results / "try" / "scores.svg").read_text())
    again = launch(file, "--results", str(results))
    assert (
        again.returncode == 0
        and "2 runs, 2 of them already done" in again.stdout
        and "started; log" not in again.stdout
    )
    confirm(tmp_path, file, results)


def confirm(folder: Path, file: str, results: Path) -> None:
    """The same models are scored on other queries, without those they may know; nothing is trained."""
    golden = [json.loads(line) for line in (TINY / "golden.jsonl").read_text().splitlines() if line.strip()]
    trained = pl.read_parquet(next((folder / "runs").glob("try-plain-*/dataset/train.parquet"))).row(0, named=True)
    known = [
        {**golden[0], "query": golden[0]["query"].upper() + "!"},
        {"query": trained["query"], "call": json.loads(trained["calls"])[0]},
    ]
    new = [{**one, "query": f"{one['query']} right now"} for one in golden[:3]]
    other = folder / "other.jsonl"
    other.write_text("".join(f"{json.dumps(one)}\n" for one in [*known, *new]))
    stages = sorted((folder / "runs" / "stages").iterdir())
    command = [file, "--confirm", str(other), "--results", str(results)]
    assert launch(*command, "--collect").returncode == 1
    assert launch(*command, "--arm", "plain").returncode == 0
    assert launch(*command).returncode == 0
    assert sorted((folder / "runs" / "stages").iterdir()) == stages
    found = json.loads((results / "try-confirm" / "results.json").read_text())
    assert (found["name"], found["confirms"], found["left_out"]) == ("try-confirm", "try", len(known))
    assert [(run["arm"], run["queries"]["golden_index"]) for run in found["runs"]] == [
        ("plain", [2, 3, 4]),
        ("more", [2, 3, 4]),
    ]
    assert all(run["scores"]["n"] == len(new) for run in found["runs"])
    assert found["runs"][0]["training"]["steps"] == 2 and found["verdicts"][0]["other"] == "more"
    origin = json.loads((results / "try-confirm" / "provenance.json").read_text())
    assert origin["golden"] == [{"name": "other.jsonl", "sha256": sha256_file(other), "rows": len(known + new)}]
    table = (results / "try-confirm" / "table.md").read_text()
    assert "2 queries were left out" in table and not any(
        one["query"] in table + json.dumps(found) for one in [*known, *new]
    )
    again = launch(*command)
    assert again.returncode == 0 and "started; log" not in again.stdout
    refused = launch(file, "--confirm", str(folder / "none.jsonl"), "--results", str(results))
    assert refused.returncode == 2 and "the golden file is missing" in refused.stderr


@pytest.mark.slow
def test_a_stopped_ceiling_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    """Two folds; Ctrl-C during the training of the first, then the same command again."""
    file = world(
        tmp_path, model=str(save_tiny_model(tmp_path / "model")), kind="ceiling", folds=2, arms={}, reference=None
    )
    base = yaml.safe_load((tmp_path / "base.yaml").read_text())
    base["train"] |= {"max_steps": 120, "save_steps": 20}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    command = [str(file), "--results", str(tmp_path / "results")]
    folder = tmp_path / "runs" / "experiments" / "try"
    first = subprocess.Popen([sys.executable, "launch.py", "experiment", *command], cwd=ROOT)
    deadline = time.monotonic() + 300
    while not (kept := list(folder.glob("folds/*/work/checkpoint-*"))):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    assert first.wait(300) == 130
    kept = list(folder.glob("folds/*/work/checkpoint-*"))
    assert len(kept) == 1
    log = folder / "seed-1-fold-0.log"
    before = log.read_text().count(": loss ")
    assert 20 <= before < 120
    assert launch(*command).returncode == 0
    assert log.read_text().count(": loss ") == 120  # no step was taken twice, and none was left out
    assert not list(folder.glob("folds/*/work"))
    found = json.loads((tmp_path / "results" / "try" / "results.json").read_text())
    golden = (TINY / "golden.jsonl").read_text().splitlines()
    (run,) = found["runs"]
    assert run["training"]["steps"] == 120 and len(run["queries"]["golden_index"]) == len(golden)


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
