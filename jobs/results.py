"""Collects what a run's stages reported about their results; the report, the terminal and model cards show it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jobs.plan import Run
from jobs.stages import STAGES
from jobs.task import Receipt, read_receipt, verify_file
from routenator.files import read_json
from routenator.parsing import read_yaml
from routenator.report.summary import build_summary, stage_row


def gather(run: Run) -> dict[str, Any]:
    """Return the summary of a run, which may be unfinished: stages that are not done are left out.

    Raises:
        CorruptShardError: a file differs from its receipt.
    """
    rows = []
    merge = scores = None
    training: list[dict[str, Any]] = []
    for stage in (name for name in STAGES if name in run.plan.stages and name != "report"):
        receipts = list(receipts_of(run, stage))
        rows.append(stage_row(stage, run.plan.stages[stage].shards, [receipt._asdict() for receipt in receipts]))
        for receipt in receipts:
            if stage == "merge":
                merge = read_json(file_of(run, receipt, "merge.json"))
            elif stage == "evaluate":
                scores = read_json(file_of(run, receipt, "scores.json"))
            elif stage == "train":
                lines = file_of(run, receipt, "training.jsonl").read_text(encoding="utf-8").splitlines()
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


def receipts_of(run: Run, stage: str) -> list[Receipt]:
    """Return the receipts of the stage's shards that are done."""
    directory = run.stage_dir(stage)
    found = (read_receipt(directory, index) for index in range(run.plan.stages[stage].shards))
    return [receipt for receipt in found if receipt is not None]


def file_of(run: Run, receipt: Receipt, name: str) -> Path:
    """Return a file of a stage by name, verified if the receipt lists it."""
    directory = run.stage_dir(receipt.stage)
    for role, entry in receipt.files.items():
        if Path(entry["name"]).name == name:
            path = receipt.path(directory, role)
            verify_file(path, receipt, role)
            return path
    return directory / name
