"""Overhead of the generate stage over bare vLLM, and its speed-up over a plain transformers loop, in one process.

    python benchmarks/generation.py

Compares the stage's inner loop on fixed requests (words, prompts, replies, checks, checkpoints), after the engine has
started and finished a first chunk, with ``LLM.generate`` on the same prompts and sampling parameters: first in the same
order and batches, so that the replies are equal and the difference is the stage's own work; then all at once in the
requests' order, as a plain script would. The sides alternate and their medians are compared. The transformers loop
samples without grammars and seeds, which is less work, on a prefix of the prompts, in batches of 1 and 16; it is
compared by tokens per second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.engines import make_parser, make_report  # noqa: E402

if TYPE_CHECKING:
    import pyarrow as pa

    from routenator.config import RunConfig
    from routenator.generation.engine import Prompt
    from routenator.generation.generator import Generator
    from routenator.wording.composer import Composer

GOAL = 1.05
BATCHES = (1, 16)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print its table, and return the value that ``--json`` writes."""
    parser = make_parser(__doc__)
    parser.add_argument("--prompts", type=int, default=128, help="requests of the text route")
    parser.add_argument("--chunk", type=int, default=64, help="requests a chunk")
    parser.add_argument("--repeat", type=int, default=3, help="turns of each side")
    parser.add_argument("--peer-prompts", type=int, default=16, help="prompts for the transformers loop; 0: none")
    return make_report(parser.parse_args(arguments), measure, _print)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all figures."""
    from jobs.chunks import write_chunk
    from routenator.compose import find_domain
    from routenator.domain.loader import load_domain
    from routenator.generation.generator import Generator
    from routenator.generation.loading import release_engine, use_engine
    from routenator.generation.vllm_engine import sampling_parameters
    from routenator.models import cache_folder
    from routenator.sampling.sampler import Sampler
    from routenator.wording.composer import Composer

    domain = load_domain(find_domain(options.domain))
    config = run_config(str(domain.path), options)
    sampler = Sampler(domain, config)
    composer = Composer(domain, config, sampler.strata)
    cache = cache_folder(str(options.cache))
    generator = Generator(composer, cache)
    started = time.monotonic()
    engine: Any = use_engine(config.model.generator, cache)
    start_seconds = time.monotonic() - started
    llm = engine._llm
    requests = sampler.requests(0, options.prompts)
    batches = prompts_of(generator, composer, requests, options.chunk)
    tokenizer = llm.get_tokenizer()

    def texts(prompts: list[Prompt]) -> list[str]:
        return [
            tokenizer.apply_chat_template(list(p.messages), tokenize=False, add_generation_prompt=True) for p in prompts
        ]

    given = [(texts(batch), sampling_parameters(batch)) for batch in batches]
    plain = [
        prompt
        for batch in prompts_of(generator, composer, requests, options.prompts, ordered=False)
        for prompt in batch
    ]
    at_once = [(texts(plain), sampling_parameters(plain))]

    def bare(work: list[tuple[list[str], Any]]) -> int:
        tokens = 0
        for prompts, parameters in work:
            llm.reset_prefix_cache()
            outputs = llm.generate(prompts, parameters, use_tqdm=False)
            tokens += sum(len(output.outputs[0].token_ids) for output in outputs)
        return tokens

    with tempfile.TemporaryDirectory() as folder:

        def stage() -> int:
            tokens = 0
            for start in range(0, options.prompts, options.chunk):
                path = Path(folder) / f"{start}.parquet"
                write_chunk(path, generator, composer, requests.slice(start, options.chunk))
                tokens += tokens_in(path)
            return tokens

        write_chunk(
            Path(folder) / "first.parquet",
            generator,
            composer,
            sampler.requests(options.prompts, options.prompts + options.chunk),
        )
        sides: dict[str, Callable[[], int]] = {
            "bare": lambda: bare(given),
            "stage": stage,
            "bare_at_once": lambda: bare(at_once),
        }
        seconds, tokens = take_turns(sides, options.repeat)
    release_engine()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result: dict[str, Any] = {
        "model": options.model,
        "prompts": options.prompts,
        "chunk": options.chunk,
        "engine_start_s": start_seconds,
        "seconds": seconds,
        "median_s": medians,
        "tokens": tokens,
        "overhead": statistics.median(
            own / theirs for own, theirs in zip(seconds["stage"], seconds["bare"], strict=True)
        ),
        "over_at_once": medians["stage"] / medians["bare_at_once"],
        "tokens_per_second": tokens["stage"] / medians["stage"],
    }
    if options.peer_prompts:
        rates = {
            size: plain_transformers(options.model, cache, plain[: options.peer_prompts], size) for size in BATCHES
        }
        result["transformers_tokens_per_second"] = rates
        result["times_transformers"] = {size: result["tokens_per_second"] / rate for size, rate in rates.items()}
    return result


def run_config(domain: str, options: argparse.Namespace) -> RunConfig:
    """The packaged model's profile, with only the text route."""
    import yaml

    from routenator.config import RunConfig

    profile = yaml.safe_load((ROOT / "configs" / "model" / "smollm2-135m.yaml").read_text())
    model = profile["model"]
    model["generator"].update(model=options.model, max_model_len=4096)
    return RunConfig.model_validate(
        {
            "name": "benchmark",
            "domain": domain,
            "dataset": {"size": options.prompts + options.chunk},
            "generate": {**profile["generate"], "routes": {"text": 1.0}},
            "model": model,
        }
    )


def prompts_of(
    generator: Generator, composer: Composer, requests: pa.Table, size: int, ordered: bool = True
) -> list[list[Prompt]]:
    """Prompts of each chunk, in the order in which an engine takes them or in the requests' order."""
    batches = []
    for start in range(0, requests.num_rows, size):
        prompts = [generator._prompt(row) for row in composer.details(requests.slice(start, size)).to_pylist()]
        batches.append(sorted(prompts, key=lambda prompt: json.dumps(list(prompt.messages))) if ordered else prompts)
    return batches


def tokens_in(path: Path) -> int:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    return int(pc.sum(pq.read_table(path, columns=["completion_tokens"])["completion_tokens"]).as_py())


def take_turns(sides: dict[str, Callable[[], int]], repeat: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of each turn, and tokens of the last; every other round runs the sides in the opposite order."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    tokens: dict[str, int] = {}
    for turn in range(repeat):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            started = time.monotonic()
            tokens[name] = sides[name]()
            seconds[name].append(time.monotonic() - started)
            print(
                f"turn {turn + 1}, {name}: {seconds[name][-1]:.2f} s, {tokens[name]} tokens",
                file=sys.stderr,
                flush=True,
            )
    return seconds, tokens


def plain_transformers(source: str, cache: Path, prompts: list[Prompt], size: int) -> float:
    """Reply tokens per second of ``generate`` in batches of this size, without loading."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from routenator.models import resolve_model

    folder = resolve_model(source, cache)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model = loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    tokens = 0
    started = time.monotonic()
    for start in range(0, len(prompts), size):
        batch = prompts[start : start + size]
        texts = [
            tokenizer.apply_chat_template(list(p.messages), tokenize=False, add_generation_prompt=True) for p in batch
        ]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
        with torch.inference_mode():
            output = model.generate(
                **inputs,
                do_sample=True,
                temperature=batch[0].temperature,
                top_p=batch[0].top_p,
                top_k=0,
                max_new_tokens=max(prompt.max_tokens for prompt in batch),
                pad_token_id=tokenizer.pad_token_id,
            )
        replies = output[:, inputs["input_ids"].shape[1] :]
        tokens += int((replies != tokenizer.pad_token_id).sum())
    return tokens / (time.monotonic() - started)


def _print(report: dict[str, Any]) -> None:
    median, tokens = report["median_s"], report["tokens"]
    name = str(report["model"]).rsplit("/", 1)[-1]
    print(
        f"{name}, {report['prompts']} prompts, chunks of {report['chunk']}, "
        f"{len(report['seconds']['stage'])} turns each;"
    )
    print(
        f"{report['cores']} cores, load {report['load_before']:.1f} before; "
        f"engine start {report['engine_start_s']:.1f} s"
    )
    print(f"{'':<44} {'seconds':>8} {'tokens':>7} {'tokens/s':>9}")
    labels = {
        "bare": "LLM.generate, same order and batches",
        "stage": "generate stage",
        "bare_at_once": "LLM.generate, all at once, requests' order",
    }
    for side, label in labels.items():
        print(f"{label:<44} {median[side]:>8.2f} {tokens[side]:>7,} {tokens[side] / median[side]:>9.1f}")
    verdict = "met" if report["overhead"] <= GOAL else "missed"
    turns = ", ".join(
        f"{own / theirs:.3f}" for own, theirs in zip(report["seconds"]["stage"], report["seconds"]["bare"], strict=True)
    )
    print(f"overhead of the stage {report['overhead'] - 1:+.1%} (goal +5% {verdict}); ratios of the turns: {turns}")
    print(f"against all at once {report['over_at_once'] - 1:+.1%}: chunks end with a batch that is not full")
    for size, rate in report.get("transformers_tokens_per_second", {}).items():
        times = report["times_transformers"][size]
        print(f"plain transformers, batch {size:>2}: {rate:>6.1f} tokens/s; the stage is {times:.1f} times as fast")


if __name__ == "__main__":
    main()
