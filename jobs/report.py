"""Report: collects the results of a run's stages into ``report/summary.json`` and ``report/index.html``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jobs.outputs import attempt_folder, commit_folder
from jobs.plan import Run
from jobs.stages import STAGES
from jobs.task import Receipt, Task, read_receipt, verify_file
from routenator.domain.functions import load_functions
from routenator.errors import InputError
from routenator.files import read_json, write_atomic, write_json
from routenator.generation.reasons import REASONS
from routenator.parsing import read_yaml
from routenator.report.listing import Listing, data_listing, failure_listing
from routenator.report.page import render
from routenator.report.summary import build_summary, stage_row

VERSION = 3


def run(task: Task) -> None:
    """Write the report of a run whose other stages are done; roles ``summary`` and ``page``.

    Raises:
        StageError: one of the stages is not done.
        CorruptShardError: a file differs from its receipt.
    """
    if task.is_done():
        return
    for stage in STAGES["report"].needs:
        if stage in task.run.plan.stages:
            for _ in task.input_receipts(stage):
                pass
    summary = gather(task.run)
    folder = attempt_folder(task)
    write_json(folder / "report" / "summary.json", summary)
    write_atomic(folder / "report" / "index.html", render(summary, listings(task.run)))
    commit_folder(task, folder, ("report",), rows=1, metrics={"seconds_of_run": summary["seconds"]})


def gather(run: Run) -> dict[str, Any]:
    """Return the summary of a run, which may be unfinished: stages that are not done are left out.

    Raises:
        CorruptShardError: a file differs from its receipt.
    """
    rows = []
    merge = scores = None
    training: list[dict[str, Any]] = []
    for stage in (name for name in STAGES if name in run.plan.stages and name != "report"):
        receipts = list(_receipts(run, stage))
        rows.append(stage_row(stage, run.plan.stages[stage].shards, [receipt._asdict() for receipt in receipts]))
        for receipt in receipts:
            if stage == "merge":
                merge = read_json(_file(run, receipt, "merge.json"))
            elif stage == "evaluate":
                scores = read_json(_file(run, receipt, "scores.json"))
            elif stage == "train":
                lines = _file(run, receipt, "training.jsonl").read_text(encoding="utf-8").splitlines()
                training.extend(json.loads(line) for line in lines if line.strip())
    plan = run.plan
    domain = read_yaml(run.domain_dir / "domain.yaml")
    return build_summary(
        run={
            "name": plan.config.name,
            "domain": plan.config.domain,
            "title": domain.get("title", plan.config.domain),
            "fingerprint": plan.fingerprint,
            "created": plan.created,
            "version": plan.version,
            "commit": plan.commit,
            "trainee": plan.config.model.trainee,
            "generator": plan.config.model.generator.model,
        },
        stages=rows,
        merge=merge,
        training=training,
        scores=scores,
    )


def listings(run: Run) -> dict[str, Listing]:
    """Return the rows that the page lets its reader search; what a run does not have yet is left out.

    Raises:
        CorruptShardError: a file of the data set or the predictions differs from its receipt.
    """
    found: dict[str, Listing] = {}
    for receipt in _receipts(run, "merge") if "merge" in run.plan.stages else ():
        directory = run.stage_dir("merge")
        for role, entry in receipt.files.items():
            if entry["name"].endswith(".parquet"):
                verify_file(receipt.path(directory, role), receipt, role)
        meanings = {reason.code: reason.meaning for reason in REASONS}
        found["data"] = data_listing(directory / "dataset", _candidates(run), meanings, run.config.seed)
    for receipt in _receipts(run, "evaluate") if "evaluate" in run.plan.stages else ():
        file = _file(run, receipt, "predictions.jsonl")
        if not file.exists():
            continue
        with open(file, encoding="utf-8") as lines:
            predictions = [json.loads(line) for line in lines]
        rows = found["data"].rows if "data" in found else []
        examples = [(row[0], row[1]) for row in rows if row[3] == "train"]
        found["failures"] = failure_listing(predictions, _categories(run), examples)
    return found


def _candidates(run: Run) -> list[Path]:
    """The files of candidates of the run and of the runs that it tops up; none if any is gone."""
    files = []
    for stage in [part.generate for part in run.plan.base] + [run.plan.stages["generate"]]:
        directory = run.part_dir(stage)
        receipts = [read_receipt(directory, index) for index in range(stage.shards)]
        files += [receipt.path(directory) if receipt is not None else directory for receipt in receipts]
    return files if all(file.is_file() for file in files) else []


def _categories(run: Run) -> dict[str, str | None]:
    """Function -> its category parameter; {} for a domain that this version does not read any more."""
    try:
        functions = load_functions(run.domain_dir / "functions.json")
    except InputError:
        return {}
    return {name: function.category for name, function in functions.items()}


def _receipts(run: Run, stage: str) -> list[Receipt]:
    directory = run.stage_dir(stage)
    found = (read_receipt(directory, index) for index in range(run.plan.stages[stage].shards))
    return [receipt for receipt in found if receipt is not None]


def _file(run: Run, receipt: Receipt, name: str) -> Path:
    """Return a file of a stage by name, verified if the receipt lists it."""
    directory = run.stage_dir(receipt.stage)
    for role, entry in receipt.files.items():
        if Path(entry["name"]).name == name:
            path = receipt.path(directory, role)
            verify_file(path, receipt, role)
            return path
    return directory / name
