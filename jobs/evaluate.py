"""Evaluate: the model before and after training on the golden set, over the task's nodes by Ray."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.nodes import task_nodes
from jobs.outputs import attempt_folder, commit_folder
from jobs.task import Task, verify_file
from routenator.dataset.files import split_files
from routenator.domain.functions import Function
from routenator.domain.golden import GoldenExample, load_golden
from routenator.domain.loader import load_domain
from routenator.errors import StageError
from routenator.evaluation.baselines import NAMES, baseline_replies, read_examples
from routenator.evaluation.cluster import join
from routenator.evaluation.embed import sentence_embedder
from routenator.evaluation.metrics import Embed, score
from routenator.evaluation.paired import paired
from routenator.evaluation.run import Subject, ask_and_judge, scores_of, subset, write_predictions
from routenator.evaluation.verdict import judge_reply
from routenator.files import write_json
from routenator.models import cache_folder, resolve_model
from routenator.nodes import Nodes
from routenator.training.adapter import read_card

VERSION = 3


def run(task: Task) -> None:
    """Write ``scores.json`` and ``predictions.jsonl``.

    Raises:
        StageError: there is no adapter, or an engine or Ray failed.
        CorruptShardError: the adapter differs from its receipt.
    """
    if task.is_done():
        return
    nodes = task_nodes(task.work_dir)
    over = task.work_dir / f"over-{os.environ.get('SLURM_JOB_ID', '0')}-{os.environ.get('SLURM_RESTART_COUNT', '0')}"
    if nodes.index:
        join(len(os.sched_getaffinity(0)), nodes, lambda: over.exists() or task.is_done())
        return
    try:
        _evaluate(task, nodes)
    except (OSError, StageError):
        # Another attempt may have won and removed the work folder under our feet; then there is nothing left to do.
        if not task.is_done():
            raise
    finally:
        if nodes.count > 1 and not task.is_done():
            over.touch()


def _evaluate(task: Task, nodes: Nodes) -> None:
    config = task.config
    functions = load_domain(task.run.domain_dir).functions
    golden = subset(load_golden(task.run.golden_file, functions), config.evaluate.limit, config.seed)
    adapter = adapter_folder(task)
    card = read_card(adapter)
    if card is None:
        raise StageError(f"the adapter has no card: {adapter}")
    cache = cache_folder(config.cache)
    subjects = {"before": Subject(config.evaluate.before_prompt, False)} if config.evaluate.before else {}
    subjects["after"] = Subject(card.prompt, True)
    scratch = task.work_dir / task.token
    scratch.mkdir()
    judged = ask_and_judge(
        subjects,
        golden,
        functions,
        base=resolve_model(config.model.trainee, cache),
        adapter=adapter,
        config=config.evaluate,
        scratch=scratch,
        progress=lambda done, total: task.progress(done, total, "queries"),
        nodes=nodes,
    )
    embed = sentence_embedder(resolve_model(config.model.embedder, cache))
    settings = {"resamples": config.evaluate.bootstrap, "seed": config.seed}
    scores: dict[str, Any] = {"before": None}
    scores |= {
        name: scores_of(judged[name], subject, golden, functions, embed, **settings)
        for name, subject in subjects.items()
    }
    if "before" in judged:
        scores["paired"] = paired(judged["before"].verdicts, judged["after"].verdicts, embed, **settings)
    if config.evaluate.baselines:
        scores["baselines"] = _baselines(task, golden, functions, embed)
    folder = attempt_folder(task)
    write_json(folder / "scores.json", scores)
    write_predictions(folder / "predictions.jsonl", golden, judged)
    commit_folder(task, folder, ("scores.json", "predictions.jsonl"), rows=len(golden), metrics=_metrics(scores))
    shutil.rmtree(task.work_dir, ignore_errors=True)


def _baselines(
    task: Task, golden: Sequence[GoldenExample], functions: Mapping[str, Function], embed: Embed
) -> dict[str, Any]:
    """Scores of what costs nothing, made of the same training set."""
    train = read_examples(split_files(task.run.stage_dir("merge") / "dataset", "train"))
    scores = {}
    for name in NAMES if train else ():
        replies = baseline_replies(name, train, [example.query for example in golden], embed)
        verdicts = [judge_reply(example, reply, functions) for example, reply in zip(golden, replies, strict=True)]
        scores[name] = score(
            golden, verdicts, functions, embed, resamples=task.config.evaluate.bootstrap, seed=task.config.seed
        )
    return scores


def adapter_folder(task: Task) -> Path:
    """The trained adapter, its files checked against the receipt.

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
    """The main numbers for the receipt."""
    sides = {name: scores[name] for name in ("before", "after") if scores[name]}
    return {
        "queries": sum(side["n"] for side in sides.values()),
        "seconds_asking": sum(side["seconds"] for side in sides.values()),
        **{
            f"{key}_{name}": side[key]["value"]
            for name, side in sides.items()
            for key in ("function_f1_macro", "cta", "ss", "exact_match")
        },
    }
