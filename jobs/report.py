"""Report: writes the results of a run's stages to ``report/summary.json`` and ``report/index.html``."""

from __future__ import annotations

import json
from pathlib import Path

from jobs.outputs import attempt_folder, commit_folder
from jobs.plan import Run
from jobs.results import file_of, gather, receipts_of
from jobs.stages import STAGES
from jobs.task import Task, read_receipt, verify_file
from routenator.domain.functions import load_functions
from routenator.errors import InputError
from routenator.files import write_atomic, write_json
from routenator.generation.reasons import REASONS
from routenator.report.listing import Listing, data_listing, failure_listing
from routenator.report.page import render

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


def listings(run: Run) -> dict[str, Listing]:
    """Return the rows that the page lets its reader search; what a run does not have yet is left out.

    Raises:
        CorruptShardError: a file of the data set or the predictions differs from its receipt.
    """
    found: dict[str, Listing] = {}
    for receipt in receipts_of(run, "merge") if "merge" in run.plan.stages else ():
        directory = run.stage_dir("merge")
        for role, entry in receipt.files.items():
            if entry["name"].endswith(".parquet"):
                verify_file(receipt.path(directory, role), receipt, role)
        meanings = {reason.code: reason.meaning for reason in REASONS}
        found["data"] = data_listing(directory / "dataset", _candidates(run), meanings, run.config.seed)
    for receipt in receipts_of(run, "evaluate") if "evaluate" in run.plan.stages else ():
        file = file_of(run, receipt, "predictions.jsonl")
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
    own = [run.plan.stages[stage] for stage in ("generate", "refill") if stage in run.plan.stages]
    for stage in [*(stage for part in run.plan.base for stage in part.candidates), *own]:
        directory = run.part_dir(stage)
        receipts = [read_receipt(directory, index) for index in range(stage.shards)]
        files += [receipt.path(directory) if receipt is not None else directory for receipt in receipts]
    return files if all(file.is_file() for file in files) else []


def _categories(run: Run) -> dict[str, str | None]:
    """Function -> its category parameter; {} for a domain that this version can no longer read."""
    try:
        functions = load_functions(run.domain_dir / "functions.json")
    except InputError:
        return {}
    return {name: function.category for name, function in functions.items()}
