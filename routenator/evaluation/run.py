"""Evaluates a model on a golden set: builds prompts, runs the model, judges its replies and computes scores."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from routenator.chat.guided import guide_of
from routenator.chat.prompts import PromptFormat
from routenator.chat.replies import parse_reply
from routenator.chat.templates import Style
from routenator.config import EvaluateConfig
from routenator.domain.functions import Function
from routenator.domain.golden import GoldenExample, check_shown, load_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.evaluation.embed import sentence_embedder
from routenator.evaluation.engines import EngineSpec, decoded_together
from routenator.evaluation.metrics import Embed, score, with_similarities
from routenator.evaluation.predict import Answers, Progress, PromptSet, ask
from routenator.evaluation.verdict import Verdict, judge_reply
from routenator.extras import require_evaluation
from routenator.files import digest, write_atomic, write_json
from routenator.jsontext import dump_line
from routenator.models import check_model, resolve_model
from routenator.nodes import ALONE, Nodes
from routenator.training.adapter import base_model_of, base_of, is_adapter, read_card, read_template

DEFAULT_EMBEDDER = "package:all-minilm-l6-v2"


def subset(golden: Sequence[GoldenExample], limit: int, seed: int) -> list[GoldenExample]:
    """Draw ``limit`` examples (0: all) by key, in the golden set's order.

    A larger limit includes all examples of a smaller one.
    """
    if not limit or limit >= len(golden):
        return list(golden)
    chosen = set(sorted(range(len(golden)), key=lambda number: digest([seed, golden[number].query], 32))[:limit])
    return [example for number, example in enumerate(golden) if number in chosen]


def evaluate(
    sets: Mapping[str, PromptSet],
    golden: Sequence[GoldenExample],
    functions: Mapping[str, Function],
    embed: Embed,
    *,
    base: str,
    adapter: Path | None,
    config: EvaluateConfig,
    seed: int,
    scratch: Path,
    progress: Progress = lambda done, total: None,
    nodes: Nodes = ALONE,
) -> tuple[dict[str, dict[str, Any]], dict[str, Answers]]:
    """Run the model on all golden queries, judge its replies and score them.

    Args:
        sets: by name; style and adapter, still without prompts.
        golden: the golden queries with their calls.
        functions: the API.
        embed: sentence embeddings for SS.
        base: folder or hub id of the base model.
        adapter: folder of the adapter, if a set needs it.
        config: workers, engine, tokens, resamples.
        seed: seed of the bootstrap.
        scratch: a folder that all nodes share.
        progress: called with (queries done, total queries).
        nodes: the task's nodes; this must be the first.

    Returns:
        Set -> its scores as in ``scores.json``, and set -> its answers.

    Raises:
        InputError: a model or adapter is invalid.
        StageError: an engine or Ray failed.
    """
    answers = ask_and_judge(
        sets,
        golden,
        functions,
        base=base,
        adapter=adapter,
        config=config,
        scratch=scratch,
        progress=progress,
        nodes=nodes,
    )
    answers = {name: replace(said, verdicts=with_similarities(said.verdicts, embed)) for name, said in answers.items()}
    scores = {}
    languages = [example.language for example in golden]
    for name, said in answers.items():
        scores[name] = score(
            said.verdicts, functions, embed, resamples=config.bootstrap, seed=seed, languages=languages
        ) | {
            "seconds": said.seconds,
            "queries_per_second": round(len(golden) / said.seconds, 2) if said.seconds else None,
            "latency": latency_of(said.latencies, said.engine),
            "cut_off": said.cut_off,
            "prompt": sets[name].style,
            "match": config.match,
            "engine": said.engine,
        }
    return scores, answers


def ask_and_judge(
    sets: Mapping[str, PromptSet],
    golden: Sequence[GoldenExample],
    functions: Mapping[str, Function],
    *,
    base: str,
    adapter: Path | None,
    config: EvaluateConfig,
    scratch: Path,
    progress: Progress = lambda done, total: None,
    nodes: Nodes = ALONE,
) -> dict[str, Answers]:
    """Build the prompts of each set, run the model and judge its replies. Arguments and errors as for ``evaluate``."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise InputError("cannot load this model's tokenizer", key="model", found=base, expected=str(error)) from None
    tools = [function.tool() for function in functions.values()]
    several = any(len(example.calls) > 1 for example in golden)
    filled = {}
    for name, asked in sets.items():
        check_shown(golden, asked.style)
        form = form_of(asked, tools, tokenizer, adapter, several=several)
        guide = _guide(form) if asked.guided else None
        prompts = [form.prompt_ids(example.asked, example.hidden) for example in golden]
        filled[name] = replace(asked, prompts=prompts, guide=guide)
    spec = EngineSpec(
        base=base,
        adapter=str(adapter) if adapter is not None else None,
        kind=config.engine,
        longest=max(len(prompt) for asked in filled.values() for prompt in asked.prompts),
        max_new_tokens=config.max_new_tokens,
        threads=max(1, len(os.sched_getaffinity(0)) * nodes.count // config.workers),
        dtype=config.dtype,
    )
    judged = {}
    for name, said in ask(filled, spec, config.workers, scratch, progress=progress, nodes=nodes).items():
        replies = [parse_reply(text) for text in said.texts]
        verdicts = [
            judge_reply(example, reply, functions, config.match) for example, reply in zip(golden, replies, strict=True)
        ]
        judged[name] = replace(said, replies=replies, verdicts=verdicts)
    return judged


def form_of(
    asked: PromptSet, tools: Sequence[Mapping[str, Any]], tokenizer: Any, adapter: Path | None, *, several: bool
) -> PromptFormat:
    """The form of a set's prompts: an adapter's own, or one for an untrained model."""
    if not asked.adapted:
        return PromptFormat(asked.style, tools, tokenizer, several=several, untrained=True)
    template = read_template(adapter, asked.style) if adapter is not None else None
    return PromptFormat(asked.style, tools, tokenizer, template=template, several=several)


def _guide(form: PromptFormat) -> str:
    guide = guide_of(form)
    if guide is None:
        raise InputError(
            "replies of this model's own chat template cannot be restricted",
            key="evaluate.guided",
            found="calls without <tool_call> tags",
            expected="evaluate.guided=false",
        )
    return guide


def latency_of(seconds: Sequence[float], engine: Literal["vllm", "transformers"]) -> dict[str, Any]:
    """Summarise the time per query, without loading the model.

    Args:
        seconds: for each query, from when its engine began with it to its last token. Others are decoded beside it, so
            this is the latency under that load; a single query is answered sooner.
        engine: it limits how many are decoded together.

    Returns:
        mean, p50 and p95 in seconds, and ``at_once``: how many are decoded together.
    """
    import numpy as np

    p50, p95 = np.percentile(seconds, [50, 95]).tolist()
    return {
        "mean": round(float(np.mean(seconds)), 4),
        "p50": round(p50, 4),
        "p95": round(p95, 4),
        "at_once": min(decoded_together(engine), len(seconds)),
    }


def write_predictions(file: Path, golden: Sequence[GoldenExample], answers: Mapping[str, Answers]) -> None:
    """Write JSON lines with query, gold calls, and for each set of prompts the reply, its calls and the verdict.

    Where the verdicts have similarities of subprompts, these are written too, so that readers need no embedder.
    """
    lines = []
    for number, example in enumerate(golden):
        row: dict[str, Any] = {"query": example.query, "gold": [call.as_json() for call in example.calls]}
        if example.today is not None:
            row["today"] = example.today
        if example.hidden:
            row["hidden"] = list(example.hidden)
        if example.language is not None:
            row["language"] = example.language
        for name, said in answers.items():
            reply, verdict = said.replies[number], said.verdicts[number]
            row[name] = {
                "calls": [call._asdict() for call in reply.calls],
                "exact": verdict.exact,
                "errors": [{"kind": kind, "parameter": parameter} for kind, parameter in verdict.errors],
                "problem": reply.problem,
                "reply": said.texts[number],
            }
            if pairs := _subprompts(verdict):
                row[name]["subprompts"] = pairs
        lines.append(dump_line(row))
    write_atomic(file, "\n".join(lines) + "\n")


def _subprompts(verdict: Verdict) -> list[dict[str, Any]]:
    """Pairs of subprompts with their similarity; ``paired.read_verdicts`` reads them."""
    return [
        {"gold": call.subprompt[0], "said": call.subprompt[1], "similarity": call.similarity}
        for call in verdict.calls
        if call.subprompt is not None and call.subprompt[1] is not None and call.similarity is not None
    ]


def evaluate_model(
    model: str,
    domain: str | Path,
    golden: str | Path,
    out: Path | None = None,
    *,
    cache: Path,
    config: EvaluateConfig | None = None,
    prompt: Style | None = None,
    embedder: str = DEFAULT_EMBEDDER,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Score any base model or adapter on any golden file.

    Args:
        model: an adapter's folder, or a base model: hub id, folder, or ``package:NAME``.
        domain: folder of the domain whose API the golden calls use.
        golden: JSON lines of query and calls.
        out: folder for ``scores.json`` and ``predictions.jsonl``; None: write neither.
        cache: folder of prepared weights.
        config: workers, engine, limit, tokens, resamples.
        prompt: style; default: that of the adapter's card, or ``tools`` for a base model.
        embedder: sentence-transformers model for SS.
        seed: seed of the subset and the bootstrap.
        progress: called with (queries done, total queries).

    Returns:
        The entry of one set of prompts in ``scores.json``, with ``model``, ``domain``, ``golden`` and ``wall_seconds``.

    Raises:
        InputError: model, domain or golden file is invalid, or an adapter without a card comes without ``prompt``.
        StageError: an engine or Ray failed.
    """

    began = time.time()
    config = config or EvaluateConfig()
    require_evaluation(config.engine, "--engine")
    functions = load_domain(domain).functions
    examples = subset(load_golden(Path(golden), functions), config.limit, seed)
    base, adapter, style = which_model(model, prompt)
    check_model(embedder, key="embedder")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rn-", dir=out) as scratch:
        scores, answers = evaluate(
            {"model": PromptSet(style, adapted=adapter is not None)},
            examples,
            functions,
            sentence_embedder(resolve_model(embedder, cache)),
            base=resolve_model(base, cache),
            adapter=adapter,
            config=config,
            seed=seed,
            scratch=Path(scratch),
            progress=progress,
        )
    result = {
        "model": model,
        "domain": str(domain),
        "golden": str(golden),
        **scores["model"],
        "wall_seconds": round(time.time() - began, 3),
    }
    if out is not None:
        write_predictions(out / "predictions.jsonl", examples, answers)
        write_json(out / "scores.json", result)
    return result


def which_model(model: str, prompt: Style | None) -> tuple[str, Path | None, Style]:
    """Resolve MODEL of the command line to base model, adapter folder (if it is an adapter) and style of prompt.

    Raises:
        InputError: there is no such model, or a plain PEFT adapter comes without a style.
    """
    folder = Path(model).expanduser()
    if not is_adapter(folder):
        check_model(model, key="MODEL")
        return model, None, prompt or "tools"
    card = read_card(folder)
    if card is None and prompt is None:
        raise InputError(
            "this adapter has no routenator.json, so --prompt is required",
            file=folder,
            key="--prompt",
            expected="compact or tools",
        )
    base = base_of(folder, card) if card is not None else base_model_of(folder)
    check_model(base, key="base model", file=folder)
    style = prompt or (card.prompt if card is not None else None)
    assert style is not None
    return base, folder.resolve(), style
