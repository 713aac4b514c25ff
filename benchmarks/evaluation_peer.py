"""The peer of ``evaluation.py``: bare vLLM, scikit-learn and sentence-transformers, as a process of its own.

python benchmarks/evaluation_peer.py TASK.json OUT.json
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

NONE = "(none)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "task", type=Path, help="what to ask: base, embedder, prompts, gold calls, as evaluation.py writes it"
    )
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.write_text(json.dumps(evaluate(json.loads(options.task.read_text()))))


def evaluate(task: dict[str, Any]) -> dict[str, Any]:
    """Ask and score; return seconds, texts and scores."""
    os.environ["OMP_NUM_THREADS"] = str(len(os.sched_getaffinity(0)))
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    # Its default leaves a core to other processes; the stage uses all.
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    began = time.monotonic()
    import torch
    from sentence_transformers import SentenceTransformer
    from vllm import LLM, SamplingParams

    cpu = not torch.cuda.is_available()
    longest = max(map(len, [*task["prompts"], *task["warm"]]))
    llm = LLM(
        model=task["base"],
        dtype="auto",
        max_model_len=longest + task["tokens"],
        max_num_seqs=64 if cpu else 256,
        enforce_eager=cpu,
        enable_prefix_caching=True,
        seed=0,
    )
    greedy = SamplingParams(temperature=0.0, max_tokens=task["tokens"])

    def generate(prompts: list[list[int]]) -> list[str]:
        outputs = llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], greedy, use_tqdm=False)
        return [output.outputs[0].text for output in outputs]

    generate(task["warm"])
    encoder = SentenceTransformer(task["embedder"])
    encoder.encode(["loads it"], show_progress_bar=False)
    start, began = time.monotonic() - began, time.monotonic()
    texts = generate(task["prompts"])
    asking, began = time.monotonic() - began, time.monotonic()

    def embed(values: list[str]) -> Any:
        return encoder.encode(values, normalize_embeddings=True, show_progress_bar=False)

    scores = score([read_call(text) for text in texts], task["gold"], task["subprompts"], embed)
    return {
        "seconds": {"start": start, "asking": asking, "scoring": time.monotonic() - began},
        "texts": texts,
        "scores": scores,
    }


def read_call(text: str) -> dict[str, Any] | None:
    """The first JSON object of a reply that is a call; None if there is none."""
    decoder, place = json.JSONDecoder(), text.find("{")
    while place >= 0:
        try:
            value, _ = decoder.raw_decode(text, place)
        except ValueError:
            value = None
        if isinstance(value, dict) and isinstance(value.get("name"), str) and isinstance(value.get("arguments"), dict):
            return value
        place = text.find("{", place + 1)
    return None


def score(
    said: list[dict[str, Any] | None], gold: list[dict[str, Any]], subprompts: dict[str, str | None], embed: Any
) -> dict[str, float]:
    """Scores as scikit-learn gives them: F1 of the function over the gold functions, exact match, mean cosine."""
    import numpy as np
    from sklearn.metrics import accuracy_score, f1_score

    wanted, named = [call["name"] for call in gold], [NONE if call is None else call["name"] for call in said]
    labels = sorted(set(wanted))
    right = [call is not None and plain(call) == plain(want) for call, want in zip(said, gold, strict=True)]
    pairs = [
        (
            want["arguments"][subprompts[want["name"]]],
            (call or {"arguments": {}})["arguments"].get(subprompts[want["name"]]),
        )
        for call, want in zip(said, gold, strict=True)
        if subprompts.get(want["name"]) in want["arguments"]
    ]
    there = [(str(a), str(b)) for a, b in pairs if b]
    cosine = (embed([a for a, _ in there]) * embed([b for _, b in there])).sum() if there else 0.0
    return {
        "function_f1_macro": float(f1_score(wanted, named, labels=labels, average="macro", zero_division=0)),
        "function_f1_micro": float(f1_score(wanted, named, labels=labels, average="micro", zero_division=0)),
        "ss": float(np.asarray(cosine) / len(pairs)) if pairs else float("nan"),
        "exact_match": float(accuracy_score([True] * len(right), right)),
    }


def plain(call: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A call for comparison: texts ignoring case and spaces."""
    return call["name"], {
        name: " ".join(value.casefold().split()) if isinstance(value, str) else value
        for name, value in call["arguments"].items()
    }


if __name__ == "__main__":
    main()
