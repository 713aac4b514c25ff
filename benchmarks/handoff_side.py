"""Asks a trained model in one way, for ``handoff.py``, as a process of its own.

python benchmarks/handoff_side.py SIDE TASK.json OUT.json
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any


def main(side: str, task: dict[str, Any]) -> dict[str, Any]:
    """Return the replies as texts, or the margins of the run's replies."""
    os.environ["OMP_NUM_THREADS"] = str(task["threads"])
    if side == "margins":
        return {"margins": margins(task)}
    prompts = list(task["prompts"].values())
    with tempfile.TemporaryDirectory() as name:
        return {
            "texts": by_llama(task, prompts, Path(name)) if side == "gguf" else by_engine(side, task, prompts, name)
        }


def by_engine(side: str, task: dict[str, Any], prompts: list[list[int]], scratch: str) -> list[str]:
    """Ask by one of the evaluation's engines."""
    from routenator.evaluation.engines import EngineSpec, merge_adapter, open_engine

    base, adapter = task["base"], task["adapter"]
    if side == "merged":
        base, adapter = f"{scratch}/merged", None
        merge_adapter(task["base"], task["adapter"], Path(base), dtype=task["dtype"])
    engine = open_engine(
        EngineSpec(
            base=base,
            adapter=adapter,
            kind="vllm" if side == "vllm" else "transformers",
            longest=max(map(len, prompts)),
            max_new_tokens=task["tokens"],
            threads=task["threads"],
            dtype=task["dtype"],
        )
    )
    try:
        return engine.answer(prompts, adapted=adapter is not None)
    finally:
        engine.close()


def by_llama(task: dict[str, Any], prompts: list[list[int]], scratch: Path) -> list[str]:
    """Ask the GGUF export by llama.cpp."""
    import xllamacpp

    from routenator.evaluation.engines import merge_adapter
    from routenator.handoff.gguf import FILE, find_converter, write_gguf
    from routenator.training.adapter import read_card

    card = read_card(Path(task["adapter"]))
    assert card is not None
    merge_adapter(task["base"], task["adapter"], scratch / "merged")
    given = Path(task["llama_cpp"]) if task["llama_cpp"] else None
    write_gguf(scratch / "merged", scratch, find_converter(Path(task["cache"]), given), card)
    params = xllamacpp.CommonParams()
    params.model.path = str(scratch / FILE)
    params.n_ctx = max(map(len, prompts)) + task["tokens"]
    params.n_parallel = 1
    params.cpuparams.n_threads = task["threads"]
    server = xllamacpp.Server(params)
    texts = []
    for prompt in prompts:
        made = server.handle_completions({"prompt": prompt, "max_tokens": task["tokens"], "temperature": 0})
        if "choices" not in made:
            raise RuntimeError(f"llama.cpp gave no completion: {made}")
        texts.append(made["choices"][0]["text"])
    return texts


def margins(task: dict[str, Any]) -> dict[str, list[tuple[str, float]]]:
    """The tokens of the run's reply to each query, each with its margin by the adapter in float32."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(task["threads"])
    tokenizer: Any = AutoTokenizer.from_pretrained(task["base"])
    base: Any = AutoModelForCausalLM.from_pretrained(task["base"], dtype=torch.float32)
    model: Any = PeftModel.from_pretrained(base, task["adapter"]).eval()
    found = {}
    for query in task["queries"]:
        prompt = task["prompts"][query]
        reply = [*tokenizer(task["replies"][query], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + reply])).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
        own = logits.gather(1, torch.tensor(reply)[:, None])[:, 0]
        best_other = logits.scatter(1, torch.tensor(reply)[:, None], float("-inf")).max(1).values
        texts = [tokenizer.decode([token]) for token in reply]
        texts[-1] = "\0"  # no reply continues like this: one that is longer parts here
        found[query] = list(zip(texts, (own - best_other).tolist(), strict=True))
    return found


if __name__ == "__main__":
    side_, task_, out_ = sys.argv[1:]
    answer = main(side_, json.loads(Path(task_).read_text(encoding="utf-8")))
    Path(out_).write_text(json.dumps(answer), encoding="utf-8")
