"""Whether a trained model gives the calls of its run wherever it is used.

    python benchmarks/handoff.py RUN [RUN ...]

RUN is a finished run. Its golden queries are asked again in the precision in which the run was evaluated: of the
adapter by transformers and PEFT, of the merged export by transformers, of the adapter by vLLM, of ``serve`` by the
``openai`` client (``tool_calls``), and of the GGUF export by llama.cpp. The calls are compared with those in
RUN/predictions.jsonl: at least 99% of the queries must have the same in float32, 97% in bfloat16, and 95% by GGUF at
16 bits. Each difference is listed with its margin where the replies part: the log probability of the run's token less
that of the best other one, by the adapter in float32 (below 0: that prefers another). The server's replies are not
seen as text; there it is the least margin of the run's reply. The exit code is 1 if a goal is missed. For a run in the
other precision:

    python launch.py run RUN/config.yaml evaluate.dtype=float32

which reuses the training. llama.cpp comes as the package xllamacpp, which pip fetches once, by hash, into the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

GOALS = {"float32": 0.99, "bfloat16": 0.97}
GGUF_GOAL = 0.95
SIDES = ("peft", "merged", "vllm", "server", "gguf")
NAMES = {
    "peft": "adapter, transformers and PEFT",
    "merged": "merged export, transformers",
    "vllm": "adapter, vLLM",
    "server": "`serve`, tool_calls",
    "gguf": "GGUF export, llama.cpp",
}
BINDING = "xllamacpp==2026.10.11549"
BINDING_SHA256 = "c54e7d13520ecc989c63dc99d55de3065e2f343a91f43f053d16b5e62077c261"  # of the wheel for x86-64
AT_ONCE = 64  # requests to the server at the same time, as many as the evaluation decodes together on a CPU


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print its tables, and return the value that ``--json`` writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--sides", default=",".join(SIDES), help="ways of use, with commas between")
    parser.add_argument("--queries", type=int, default=0, help="golden queries; 0: all")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--llama-cpp", type=Path, help="a checkout of llama.cpp with its converter")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    report = {"runs": [measure(path, options) for path in options.runs]}
    report["met"] = all(run["met"] for run in report["runs"])
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, ensure_ascii=False))
    return report


def measure(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Ask one run's model in all ways, print the table, and return its figures."""
    from jobs.plan import Run

    run = Run.load(path)
    rows = [json.loads(line) for line in (run.path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = rows[: options.queries or None]
    task = make_task(run, rows, options)
    dtype, sides = task["dtype"], {}
    print(f"{run.path.name}: {len(rows)} queries, {dtype}\n\n{'':<32}{'the same calls':>24}{'goal':>8}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for side in options.sides.split(","):
            texts = [None] * len(rows) if side == "server" else run_side(side, task, scratch)["texts"]
            said = ask_server(run, task) if side == "server" else read_calls(texts)
            goal = GGUF_GOAL if side == "gguf" else GOALS[dtype]
            parted = [
                {"query": row["query"], "run": row["after"]["calls"], "here": calls, "text": text}
                for row, calls, text in zip(rows, said, texts, strict=True)
                if calls != row["after"]["calls"]
            ]
            same = len(rows) - len(parted)
            sides[side] = {"same": same, "goal": goal, "met": same >= goal * len(rows), "different": parted}
            print(f"{NAMES[side]:<32}{f'{same} of {len(rows)}':>16}{same / len(rows):>8.1%}{goal:>8.0%}", flush=True)
        queries = {one["query"] for side in sides.values() for one in side["different"]}
        margins = run_side("margins", task | {"queries": sorted(queries)}, scratch)["margins"] if queries else {}
    for side, figures in sides.items():
        for one in figures["different"]:
            one["margin"] = margin_where_they_part(margins[one["query"]], one["text"])
            print(f"\n{side}: {one['query']}\n  margin {one['margin']:.3f}")
            print(f"  run    {json.dumps(one['run'], ensure_ascii=False)}")
            print(f"  here   {json.dumps(one['here'], ensure_ascii=False)}")
    print()
    return {
        "run": run.path.name,
        "dtype": dtype,
        "queries": len(rows),
        "sides": sides,
        "met": all(figures["met"] for figures in sides.values()),
    }


def make_task(run: Any, rows: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """What the processes need that ask a model, as JSON-compatible values."""
    from transformers import AutoConfig, AutoTokenizer

    from routenator.chat.prompts import PromptFormat
    from routenator.domain.golden import load_golden
    from routenator.domain.loader import load_domain
    from routenator.handoff.trained import open_trained
    from routenator.models import cache_folder

    cache = cache_folder(run.config.cache)
    model = open_trained(run.path / "adapter", cache)
    golden = load_golden(run.golden_file, load_domain(run.domain_dir).functions)
    asked = {example.query: example.asked for example in golden}
    form = PromptFormat(
        model.card.prompt, model.card.tools, AutoTokenizer.from_pretrained(model.base), template=model.template
    )
    config = run.config.evaluate
    dtype = config.dtype
    if dtype == "auto":
        dtype = str(AutoConfig.from_pretrained(model.base).dtype or "float32").removeprefix("torch.")
    return {
        "base": model.base,
        "adapter": str(model.adapter),
        "cache": str(cache),
        "dtype": dtype,
        "tokens": config.max_new_tokens,
        "threads": options.threads,
        "llama_cpp": str(options.llama_cpp) if options.llama_cpp else None,
        "messages": [asked[row["query"]] for row in rows],
        "prompts": {row["query"]: form.prompt_ids(asked[row["query"]]) for row in rows},
        "replies": {row["query"]: row["after"]["reply"] for row in rows},
        "tools": model.card.tools,
    }


def read_calls(texts: list[str]) -> list[list[dict[str, Any]]]:
    """The calls in each reply."""
    from routenator.chat.replies import parse_reply

    return [[call._asdict() for call in parse_reply(text).calls] for text in texts]


def run_side(side: str, task: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Ask in a process of its own, because engines set threads and memory for the whole process."""
    given, made, path = scratch / "task.json", scratch / "out.json", [str(ROOT)]
    if side == "gguf":
        path.append(str(fetch_binding(Path(task["cache"]))))
    given.write_text(json.dumps(task), encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmarks" / "handoff_side.py"), side, str(given), str(made)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{side}: {done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(made.read_text(encoding="utf-8"))
    return answer


def fetch_binding(cache: Path) -> Path:
    """The folder of llama.cpp's binding, which is not a package of the project's environment."""
    folder = cache / BINDING.replace("==", "-")
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=cache) as name:
            wanted = Path(name) / "requirements.txt"
            wanted.write_text(f"{BINDING} --hash=sha256:{BINDING_SHA256}\n", encoding="utf-8")
            command = [*(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--require-hashes")]
            command += ["--only-binary", ":all:", "--target", f"{name}/made", "-r", str(wanted)]
            subprocess.run(command, check=True)
            (Path(name) / "made").rename(folder)
    return folder


def ask_server(run: Any, task: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The calls that `serve` gives to the ``openai`` client, which finds the server by the line that it prints."""
    import openai

    command = [sys.executable, str(ROOT / "launch.py"), "serve", str(run.path), "cluster=local", "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(task["threads"])}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            line = next((line for line in process.stdout if line.startswith("curl")), None)
            if line is None:
                raise RuntimeError("`serve` did not start; see its message above")
            words = shlex.split(line)
            header = next(word for word in words if word.startswith("@") and word.endswith("authorization"))
            client = openai.OpenAI(
                base_url=words[2].removesuffix("/chat/completions"),
                api_key=Path(header[1:]).read_text(encoding="utf-8").split()[-1],
                http_client=openai.DefaultHttpxClient(trust_env=False),
                timeout=1800,
            )

            def ask(message: str) -> list[dict[str, Any]]:
                made = client.chat.completions.create(
                    model="tuned",
                    messages=[{"role": "user", "content": message}],
                    tools=task["tools"],
                    temperature=0,
                    max_tokens=task["tokens"],
                )
                calls: Any = made.choices[0].message.tool_calls or []
                return [
                    {"name": call.function.name, "arguments": json.loads(call.function.arguments)} for call in calls
                ]

            with ThreadPoolExecutor(AT_ONCE) as pool:
                return list(pool.map(ask, task["messages"]))
        finally:
            process.send_signal(signal.SIGINT)


def margin_where_they_part(tokens: list[tuple[str, float]], reply: str | None) -> float:
    """The margin of the first token of the run's reply that another reply does not share; the least if that is unknown.

    Args:
        tokens: of the run's reply: text and margin.
        reply: the other reply, if it is known.
    """
    said = ""
    for text, margin in tokens:
        said += text
        if reply is not None and not reply.startswith(said):
            return margin
    return min((margin for _, margin in tokens), default=0.0)


if __name__ == "__main__":
    sys.exit(0 if main()["met"] else 1)
