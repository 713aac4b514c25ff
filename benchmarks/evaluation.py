"""Speed of the evaluate stage with one worker against bare vLLM and scikit-learn on the same queries.

    python benchmarks/evaluation.py [--model MERGED-EXPORT --tokens 128]

All sides ask the same model the same prompts greedily and score the replies, each turn in a process of its own. The
stage (``ask``, ``judge_reply``, ``score``) sends batches of up to 512 to an actor of Ray and scores with intervals. The
peer, benchmarks/evaluation_peer.py, gives all prompts to ``LLM.generate`` at once and scores by ``json``, scikit-learn
and sentence-transformers, without intervals. It runs as vLLM starts by default, with a process of its own for the
engine, and with the engine in the same process, as the stage has it. Engines start with some other prompts, so that
starting is told apart; so is loading the embedder. The sides alternate; a ratio is that of medians.
Queries with one gold call are used, because scikit-learn's scores are defined for these alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.engines import make_parser, make_report  # noqa: E402

GOAL = 0.9
WARM = 32  # prompts that the engine is started with
SIDES = ("stage", "bare", "bare, one process")
PARTS = ("start", "asking", "scoring")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print its table, and return the value that ``--json`` writes."""
    parser = make_parser(__doc__)
    parser.add_argument("--queries", type=int, default=0, help="golden queries; 0: all with one call")
    parser.add_argument("--tokens", type=int, default=32, help="most tokens of a reply")
    parser.add_argument("--bootstrap", type=int, default=2000, help="resamples of the stage's intervals")
    parser.add_argument("--repeat", type=int, default=3, help="turns of each side")
    return make_report(parser.parse_args(arguments), measure, _print)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all figures."""
    from transformers import AutoTokenizer

    from routenator.chat.prompts import PromptFormat
    from routenator.config import EvaluateConfig
    from routenator.evaluation.run import DEFAULT_EMBEDDER
    from routenator.models import cache_folder, resolve_model

    domain, golden = _golden(options)
    cache = cache_folder(str(options.cache))
    base, embedder = resolve_model(options.model, cache), resolve_model(DEFAULT_EMBEDDER, cache)
    form = PromptFormat("tools", domain.tools(), AutoTokenizer.from_pretrained(base))
    began = time.monotonic()
    prompts = [form.prompt_ids(example.query) for example in golden]
    task = {
        "base": base,
        "embedder": embedder,
        "prompts": prompts,
        "warm": [form.prompt_ids(f"warm up {number}") for number in range(WARM)],
        "gold": [example.calls[0].as_json() for example in golden],
        "subprompts": {name: function.subprompt for name, function in domain.functions.items()},
        "tokens": options.tokens,
    }
    writing = time.monotonic() - began
    turns: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    config = EvaluateConfig(max_new_tokens=options.tokens, bootstrap=options.bootstrap)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.repeat):
            for side in SIDES if number % 2 == 0 else reversed(SIDES):
                scratch = Path(folder) / f"{side}-{number}"
                scratch.mkdir()
                if side == "stage":
                    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                        made = pool.submit(_stage, task, options, config, scratch).result()
                else:
                    made = _bare(task, scratch, one_process=side != "bare")
                turns[side].append(made)
    medians = {
        side: {part: statistics.median(turn["seconds"][part] for turn in turns[side]) for part in PARTS}
        for side in SIDES
    }
    # Writing the prompts belongs to the stage's work; the peer gets them for nothing.
    medians["stage"]["asking"] += writing
    texts = {side: turns[side][0]["texts"] for side in SIDES}
    return {
        "queries": len(golden),
        "seconds": medians,
        "turns": {side: [turn["seconds"] for turn in turns[side]] for side in SIDES},
        "scores": {side: turns[side][0]["scores"] for side in SIDES},
        "peers": {
            side: {
                "same_replies": sum(map(str.__eq__, texts["stage"], texts[side])) / len(golden),
                "ratio": sum(medians[side][part] for part in PARTS[1:])
                / sum(medians["stage"][part] for part in PARTS[1:]),
                "ratio_asking": medians[side]["asking"] / medians["stage"]["asking"],
            }
            for side in SIDES[1:]
        },
    }


def _golden(options: argparse.Namespace) -> tuple[Any, Any]:
    """The domain, and its golden queries with one call."""
    from routenator.compose import find_domain
    from routenator.domain.golden import load_golden
    from routenator.domain.loader import load_domain
    from routenator.evaluation.run import subset

    domain = load_domain(find_domain(options.domain))
    golden = [one for one in load_golden(domain.path / "golden.jsonl", domain.functions) if len(one.calls) == 1]
    return domain, subset(golden, options.queries, 0)


def _stage(task: dict[str, Any], options: argparse.Namespace, config: Any, scratch: Path) -> dict[str, Any]:
    """One turn of the stage's own functions, with one worker."""
    from routenator.chat.replies import parse_reply
    from routenator.evaluation.embed import sentence_embedder
    from routenator.evaluation.engines import EngineSpec
    from routenator.evaluation.metrics import score
    from routenator.evaluation.predict import PromptSet, ask
    from routenator.evaluation.verdict import judge_reply

    domain, golden = _golden(options)
    spec = EngineSpec(
        base=task["base"],
        adapter=None,
        kind=config.engine,
        longest=max(map(len, [*task["prompts"], *task["warm"]])),
        max_new_tokens=config.max_new_tokens,
        threads=len(os.sched_getaffinity(0)),
    )
    began = time.monotonic()
    sides = {name: PromptSet("tools", False, prompts=task[name]) for name in ("warm", "prompts")}
    answers = ask(sides, spec, 1, scratch)["prompts"]
    embed = sentence_embedder(task["embedder"])
    embed(["loads it"])
    start = time.monotonic() - began - answers.seconds
    began = time.monotonic()
    verdicts = [
        judge_reply(example, parse_reply(text), domain.functions)
        for example, text in zip(golden, answers.texts, strict=True)
    ]
    scores = score(verdicts, domain.functions, embed, resamples=config.bootstrap, seed=0)
    seconds = {"start": start, "asking": answers.seconds, "scoring": time.monotonic() - began}
    kept = {key: scores[key]["value"] for key in ("function_f1_macro", "function_f1_micro", "ss", "exact_match")}
    return {"seconds": seconds, "texts": answers.texts, "scores": kept}


def _bare(task: dict[str, Any], scratch: Path, one_process: bool) -> dict[str, Any]:
    given, made = scratch / "task.json", scratch / "out.json"
    given.write_text(json.dumps(task))
    command = [sys.executable, str(ROOT / "benchmarks" / "evaluation_peer.py"), str(given), str(made)]
    more = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"} if one_process else {}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **more})
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    answer: dict[str, Any] = json.loads(made.read_text())
    return answer


def _print(report: dict[str, Any]) -> None:
    print(f"{report['queries']} queries, {report['cores']} cores, load before {report['load_before']:.1f}\n")
    print(f"{'seconds (median)':<18}" + "".join(f"{part:>10}" for part in PARTS) + f"{'queries/s':>12}")
    for side, seconds in report["seconds"].items():
        rate = report["queries"] / (seconds["asking"] + seconds["scoring"])
        print(f"{side:<18}" + "".join(f"{seconds[part]:>10.2f}" for part in PARTS) + f"{rate:>12.2f}")
    print(f"\nspeed without the engine's start, beside the peer's (goal: {GOAL} or more):")
    for side, found in report["peers"].items():
        print(
            f"{side:<18}{found['ratio']:.3f}; asking alone {found['ratio_asking']:.3f}; "
            f"the same reply to {found['same_replies']:.1%} of the queries"
        )
    for side, scores in report["scores"].items():
        print(f"{side:<18}" + ", ".join(f"{key} {value:.4f}" for key, value in scores.items()))


if __name__ == "__main__":
    main()
