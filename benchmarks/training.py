"""The train stage's loop against a bare TRL SFTTrainer: tokens per second on the same examples, model, batch and steps.

    python benchmarks/training.py                    # 128 examples, 16 steps, 3 runs of each
    python benchmarks/training.py --peers none       # ours alone

One epoch of QLoRA on examples of the heuristic route, with the loss on the answer only, in one process without
DeepSpeed; each run is a process of its own, and the sides alternate. The rate counts real tokens (no padding) from the
end of the second step to the end of the last: loading, starting threads and first allocations are excluded. ``trl`` is
SFTTrainer with its defaults, ``trl-grouped`` the same with examples grouped by length. Also shown is the share of
padding that our order of the examples leaves, which is all that packing could save.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from routenator.training.job import TrainingJob

PEERS = ("trl", "trl-grouped", "none")
GOAL = 0.95  # of the peer's rate
SEED = 1
WARM_STEPS = 2


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print its table, and return the value that ``--json`` writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--model", default="package:smollm2-135m-instruct", help="hub id, folder, or package:NAME")
    parser.add_argument("--domain", default="creative", help="a name below configs/domains, or a folder")
    parser.add_argument("--prompt", choices=("compact", "tools"), default="compact")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=["trl"])
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the median counts")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if options.examples <= WARM_STEPS * options.batch:
        parser.error(f"--examples must be more than {WARM_STEPS} batches")
    sides = ["routenator", *(peer for peer in options.peers if peer != "none")]
    if len(sides) > 1 and importlib.util.find_spec("trl") is None:
        print("PEERS LEFT OUT: TRL is not installed; pip install trl")
        sides = sides[:1]
    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        job, task = prepare(options, Path(folder))
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        for number in range(options.repeat):
            for side in sides if number % 2 == 0 else sides[::-1]:
                run = own(job, number) if side == "routenator" else peer(task, side == "trl-grouped")
                runs[side].append(figures(run))
        padding = {
            "grouped": padding_share(task, True, options.batch),
            "random": padding_share(task, False, options.batch),
        }
    report = {"examples": options.examples, "batch": options.batch, "runs": runs, "padding": padding} | ratios(runs)
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    return report


def prepare(options: argparse.Namespace, folder: Path) -> tuple[TrainingJob, Path]:
    """Make examples of the heuristic route, our job on them, and the peer's task file with the same examples."""
    import pyarrow.parquet as pq
    from transformers import AutoTokenizer

    from benchmarks.closed_loop import finish, make_config
    from jobs.stages import DATA_STAGES
    from routenator.chat.prompts import PromptFormat
    from routenator.compose import find_domain
    from routenator.config import TrainConfig
    from routenator.domain.loader import load_domain
    from routenator.models import cache_folder, resolve_model
    from routenator.training.job import TrainingJob
    from routenator.training.tokens import IGNORED, read_tokens, write_tokens
    from slurm.planning.planner import make_plan

    domain = find_domain(options.domain)
    run = finish(make_plan(make_config(domain, max(1000, 2 * options.examples), folder), stages=DATA_STAGES))
    table = pq.read_table(run.stage_dir("merge") / "dataset" / "train.parquet")
    if table.num_rows < options.examples:
        raise SystemExit(f"the domain gave only {table.num_rows} examples")
    data = folder / "train.parquet"
    pq.write_table(table.slice(0, options.examples), data)
    config = TrainConfig(
        prompt=options.prompt,
        epochs=1,
        batch_size=options.batch,
        learning_rate=1e-3,
        gradient_checkpointing=False,
        deepspeed=False,
        save_steps=1_000_000,
    )
    base = resolve_model(options.model, cache_folder(run.config.cache))
    tools = load_domain(domain).tools()
    job = TrainingJob(
        base=base, base_name=options.model, domain=options.domain, train=[str(data)], validation=[], tools=tools,
        config=config, seed=SEED, folder=str(folder / "own"), checkpoints=str(folder / "checkpoints"),
    )  # fmt: skip
    write_tokens(
        [data],
        PromptFormat(config.prompt, tools, AutoTokenizer.from_pretrained(base)),
        config.max_length,
        folder / "tokens",
    )
    tokens = read_tokens(folder / "tokens")
    examples = [
        {"input_ids": row["input_ids"], "completion_mask": [int(label != IGNORED) for label in row["labels"]]}
        for row in (tokens[number] for number in range(len(tokens)))
    ]
    task = folder / "task.json"
    steps = -(-options.examples // options.batch)
    content = {
        "base": base,
        "folder": str(folder / "peer"),
        "seed": SEED,
        "warmup_steps": round(config.warmup_share * steps),
    }
    task.write_text(json.dumps(content | {"config": config.model_dump(), "examples": examples}))
    return job, task


def own(job: TrainingJob, number: int) -> dict[str, Any]:
    """Run ours once, with the launcher that the train stage uses."""
    from routenator.training.launch import launch

    job = job.model_copy(update={"folder": f"{job.folder}-{number}"})
    with open(os.devnull, "w") as log:
        result = launch(job, out=log)
    lines = [json.loads(line) for line in job.metrics_file.read_text().splitlines()]
    return {"steps": [line for line in lines if "loss" in line], "trainable": result.metrics["trainable_parameters"]}


def peer(task: Path, grouped: bool) -> dict[str, Any]:
    """Run the peer once, with the environment that our processes get."""
    import torch

    from routenator.training.launch import environment

    out = task.with_name("peer.json")
    command = [
        sys.executable,
        str(Path(__file__).with_name("training_peer.py")),
        str(task),
        str(out),
        *["--grouped"][: int(grouped)],
    ]
    env = environment(1, cpu=not torch.cuda.is_available())
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the peer failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def figures(run: dict[str, Any]) -> dict[str, float]:
    """Rate without the first steps; mean loss of the second half, which shows that both sides learn equally well."""
    steps = run["steps"]
    first, last = steps[WARM_STEPS - 1], steps[-1]
    return {
        "steps": len(steps),
        "tokens": last["tokens"],
        "tokens_per_second": (last["tokens"] - first["tokens"]) / (last["seconds"] - first["seconds"]),
        "loss": statistics.mean(step["loss"] for step in steps[len(steps) // 2 :]),
        "trainable": run["trainable"],
    }


def padding_share(task: Path, grouped: bool, batch: int) -> float:
    """Share of padding in the batches of an epoch."""
    import random

    from routenator.training.tokens import LengthGrouped

    lengths = [len(example["input_ids"]) for example in json.loads(task.read_text())["examples"]]
    order = (
        list(LengthGrouped(lengths, batch, SEED))
        if grouped
        else random.Random(SEED).sample(range(len(lengths)), len(lengths))
    )
    batches = [order[low : low + batch] for low in range(0, len(order), batch)]
    return 1 - sum(lengths) / sum(max(lengths[number] for number in part) * len(part) for part in batches)


def ratios(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Median rate of each side, and ours as a multiple of each peer's."""
    rates = {side: statistics.median(run["tokens_per_second"] for run in found) for side, found in runs.items()}
    own_rate = rates["routenator"]
    return {
        "tokens_per_second": rates,
        "ratio": {side: own_rate / rate for side, rate in rates.items() if side != "routenator"},
    }


def show(report: dict[str, Any]) -> None:
    print(f"{'':<12} {'tokens/s':>9} {'of each run':<28} {'tokens':>8} {'steps':>6} {'loss':>7} {'trainable':>11}")
    for side, found in report["runs"].items():
        each = " ".join(f"{run['tokens_per_second']:.0f}" for run in found)
        loss = statistics.mean(run["loss"] for run in found)
        rate, run = report["tokens_per_second"][side], found[0]
        print(
            f"{side:<12} {rate:>9,.0f} {each:<28} {run['tokens']:>8,.0f} {run['steps']:>6} {loss:>7.3f} "
            f"{run['trainable']:>11,.0f}"
        )
    for side, ratio in report["ratio"].items():
        print(f"ratio to {side}: {ratio:.2f} (goal: at least {GOAL}: {'met' if ratio >= GOAL else 'MISSED'})")
    padding = report["padding"]
    print(f"padding: {padding['grouped']:.1%} of all positions in our order, {padding['random']:.1%} at random")


if __name__ == "__main__":
    main()
