"""What our trainer writes is served by vLLM as a LoRA adapter, as it is."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from routenator.training.launch import launch
from tests.conftest import ROOT
from tests.routenator.tiny_model import byte_tokenizer, example_rows, make_job, save_tiny_model

# Another process: vLLM takes over the process that it is imported into. The engine that scores adapters, and what lies below it: the
# log-probability of each token of each text but the first.
SERVE = """
import json, sys
from routenator.evaluation.engines import EngineSpec, open_engine
if __name__ == "__main__":
    spec, prompts, texts = json.loads(sys.argv[1])
    engine = open_engine(EngineSpec(**spec))
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest
    found = []
    for adapted in (True, False):
        request = LoRARequest("adapter", 1, spec["adapter"]) if adapted else None
        def generate(inputs, **settings):
            settings = SamplingParams(temperature=0.0, **settings)
            return engine._llm.generate([{"prompt_token_ids": ids} for ids in inputs], settings, use_tqdm=False, lora_request=request)
        greedy = [output.outputs[0].text for output in generate(prompts, max_tokens=spec["max_new_tokens"])]
        scored = generate(texts, max_tokens=1, prompt_logprobs=0)
        logs = [[at[token].logprob for at, token in zip(o.prompt_logprobs[1:], o.prompt_token_ids[1:])] for o in scored]
        found.append({"answers": engine.answer(prompts, adapted=adapted), "greedy": greedy, "logs": logs})
    engine.close()
    open(sys.argv[2], "w").write(json.dumps(found))
"""


def log_probabilities(model: Any, texts: list[list[int]]) -> list[float]:
    """Of each token of each text but the first, one text after the other."""
    import torch

    found: list[float] = []
    with torch.inference_mode():
        for ids in texts:
            logs = model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
            found += logs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].tolist()
    return found


@pytest.mark.slow
def test_vllm_serves_the_adapter_as_plain_peft_does(tmp_path: Path) -> None:
    import numpy as np
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = save_tiny_model(tmp_path / "model", head_dim=32, embedding=4.0)
    job = make_job(model, tmp_path / "run", method="lora", lora_r=16, lora_dropout=0.0, epochs=4, batch_size=8)
    launch(job, out=io.StringIO())
    tokenizer = byte_tokenizer()
    rows = example_rows(5)
    prompts = [tokenizer(row["query"] + "\n")["input_ids"] for row in rows]
    texts = [tokenizer(row["query"] + "\n" + row["call"])["input_ids"] for row in rows]
    spec = {"base": str(model), "adapter": str(job.adapter), "longest": 200, "max_new_tokens": 8, "threads": 2, "kind": "vllm"}
    program, answer = tmp_path / "serve.py", tmp_path / "answer.json"
    program.write_text(SERVE)
    command = [sys.executable, str(program), json.dumps([spec, prompts, texts]), str(answer)]
    subprocess.run(command, check=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)})
    adapted, plain = json.loads(answer.read_text())

    reference: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), str(job.adapter)).eval()
    expected = np.array(log_probabilities(reference, texts))
    with reference.disable_adapter():
        untrained = np.array(log_probabilities(reference, texts))
    served, base = np.concatenate(adapted["logs"]), np.concatenate(plain["logs"])
    print(f"effect {np.abs(expected - untrained).mean():.4f}; errors {np.abs(served - expected).max():.4f} {np.abs(base - untrained).max():.4f}")
    assert adapted["answers"] == adapted["greedy"] and plain["answers"] == plain["greedy"]
