"""Evaluate: scores the model before and after training on the golden set, with Ray on the task's nodes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from jobs.nodes import task_nodes
from jobs.outputs import attempt_folder, commit_folder
from jobs.task import Task, verify_file
from routenator.dataset.files import split_files
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.errors import StageError
from routenator.evaluation.baselines import baseline_scores, read_examples
from routenator.evaluation.cluster import join
from routenator.evaluation.embed import sentence_embedder
from routenator.evaluation.holdout import SYNTHETIC, held_out
from routenator.evaluation.paired import paired
from routenator.evaluation.predict import PromptSet
from routenator.evaluation.run import evaluate, subset, write_predictions
from routenator.extras import require_evaluation
from routenator.files import write_json
from routenator.models import cache_folder, resolve_model
from routenator.nodes import Nodes
from routenator.training.adapter import read_card

VERSION = 7


def run(task: Task) -> None:
    """Write ``scores.json`` and ``predictions.jsonl``.

    Raises:
        StageError: there is no adapter, or an engine or Ray failed.
        CorruptShardError: the adapter differs from its receipt.
    """
    if task.is_done():
        return
    require_evaluation(task.config.evaluate.engine, guided=task.config.evaluate.guided)
    nodes = task_nodes(task.work_dir)
    over = task.work_dir / f"over-{os.environ.get('SLURM_JOB_ID', '0')}-{os.environ.get('SLURM_RESTART_COUNT', '0')}"
    if nodes.index:
        join(len(os.sched_getaffinity(0)), nodes, lambda: over.exists() or task.is_done())
        return
    try:
        _evaluate(task, nodes)
    except (OSError, StageError):
        # Another attempt may have won and removed the work folder while we used it; then there is nothing left to do.
        if not task.is_done():
            raise
    finally:
        if nodes.count > 1 and not task.is_done():
            over.touch()


def _evaluate(task: Task, nodes: Nodes) -> None:
    config = task.config
    functions = load_domain(task.run.domain_dir).functions
    golden = load_golden(task.run.golden_file, functions, may_be_empty=True)
    synthetic = not golden
    if synthetic:
        golden = held_out(split_files(task.run.stage_dir("merge") / "dataset", "validation"), functions)
    golden = subset(golden, config.evaluate.limit, config.seed)
    adapter = adapter_folder(task)
    card = read_card(adapter)
    if card is None:
        raise StageError(f"the adapter has no model card: {adapter}")
    cache = cache_folder(config.cache)
    sets = {"before": PromptSet(config.evaluate.before_prompt, adapted=False)} if config.evaluate.before else {}
    sets["after"] = PromptSet(card.prompt, adapted=True)
    if config.evaluate.guided:
        sets["guided"] = PromptSet(card.prompt, adapted=True, guided=True)
    scratch = task.work_dir / task.token
    scratch.mkdir()
    embed = sentence_embedder(resolve_model(config.model.embedder, cache))
    task.progress(0, len(golden) * len(sets), "queries", doing="loading the engine")
    found, answers = evaluate(
        sets,
        golden,
        functions,
        embed,
        base=resolve_model(config.model.trainee, cache),
        adapter=adapter,
        config=config.evaluate,
        seed=config.seed,
        scratch=scratch,
        progress=lambda done, total: task.progress(done, total, "queries"),
        nodes=nodes,
    )
    scores: dict[str, Any] = {"before": None, **found}
    if synthetic:
        scores["queries"] = SYNTHETIC
    settings = {"resamples": config.evaluate.bootstrap, "seed": config.seed}
    if "before" in answers:
        scores["paired"] = paired(answers["before"].verdicts, answers["after"].verdicts, embed, **settings)
    if config.evaluate.baselines:
        train = read_examples(split_files(task.run.stage_dir("merge") / "dataset", "train"))
        scores["baselines"] = baseline_scores(train, golden, functions, embed, match=config.evaluate.match, **settings)
    folder = attempt_folder(task)
    write_json(folder / "scores.json", scores)
    write_predictions(folder / "predictions.jsonl", golden, answers)
    commit_folder(task, folder, ("scores.json", "predictions.jsonl"), rows=len(golden), metrics=_metrics(scores))
    shutil.rmtree(task.work_dir, ignore_errors=True)


def adapter_folder(task: Task) -> Path:
    """Return the trained adapter's folder, with its files checked against the receipt.

    Raises:
        StageError: the train stage is not done, or left no adapter.
        CorruptShardError: a file differs from its receipt.
    """
    receipt, directory = next(iter(task.input_receipts("train")))
    folders = set()
    for role in receipt.files:
        path = receipt.path(directory, role)
        verify_file(path, receipt, role)
        if path.name == "adapter_config.json":
            folders.add(path.parent)
    if len(folders) != 1:
        raise StageError(f"the train stage left {len(folders)} adapters in {directory}")
    return folders.pop()


def _metrics(scores: dict[str, Any]) -> dict[str, Any]:
    """Return the main scores for the receipt."""
    sides = {name: scores[name] for name in ("before", "after", "guided") if scores.get(name)}
    return {
        "queries": sum(side["n"] for side in sides.values()),
        **({"scored_on": scores["queries"]} if "queries" in scores else {}),
        "seconds_asking": sum(side["seconds"] for side in sides.values()),
        **{
            f"{key}_{name}": side[key]["value"]
            for name, side in sides.items()
            for key in ("function_f1_macro", "cta", "ss", "exact_match")
        },
    }
