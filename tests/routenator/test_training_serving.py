"""vLLM serves the trainer's output as a LoRA adapter, unchanged."""

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
from tests.routenator.tiny_model import QUERIES, byte_tokenizer, make_job, save_tiny_model

# Runs in another process, because importing vLLM changes process-wide state. Prints the answers of the engine that
# scores adapters, and from the vLLM below it the same answers as token ids with their log-probabilities.
SERVE = """
import json, sys
from routenator.evaluation.engines import EngineSpec, open_engine
if __name__ == "__main__":
    spec, prompts = json.loads(sys.argv[1])
    engine = open_engine(EngineSpec(**spec))
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest
    settings = SamplingParams(temperature=0.0, max_tokens=spec["max_new_tokens"], ignore_eos=True, logprobs=0)
    found = []
    for adapted in (True, False):
        answers = engine.answer(prompts, adapted=adapted)
        request = LoRARequest("adapter", 1, spec["adapter"]) if adapted else None
        inputs = [{"prompt_token_ids": ids} for ids in prompts]
        replies = engine._llm.generate(inputs, settings, use_tqdm=False, lora_request=request)
        outputs = [reply.outputs[0] for reply in replies]
        logs = [[at[token].logprob for token, at in zip(output.token_ids, output.logprobs)] for output in outputs]
        texts, ids = [output.text for output in outputs], [list(output.token_ids) for output in outputs]
        found.append({"answers": answers, "texts": texts, "ids": ids, "logs": logs})
    guide = json.dumps({"type": "structural_tag", "format": {"type": "const_string", "value": "hello"}})
    found.append(engine.answer(prompts[:2], adapted=True, guide=guide))
    many = engine.stream([prompts[0]] * 300, adapted=True)
    found.append(len(next(many)))
    many.close()
    found.append(engine.answer(prompts, adapted=True))
    engine.close()
    open(sys.argv[2], "w").write(json.dumps(found))
"""


def log_probabilities(model: Any, prompts: list[list[int]], answers: list[list[int]]) -> Any:
    """Log-probability of each token of each answer, one answer after the other."""
    import torch

    found = []
    with torch.inference_mode():
        for prompt, answer in zip(prompts, answers, strict=True):
            logs = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            found.append(logs[torch.arange(len(answer)), torch.tensor(answer)])
    return torch.cat(found).numpy()


@pytest.mark.slow
def test_vllm_serves_the_adapter_as_plain_peft_does(tmp_path: Path) -> None:
    import numpy as np
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = save_tiny_model(tmp_path / "model", head_dim=32, embedding=4.0)
    job = make_job(model, tmp_path / "run", method="lora", lora_r=16, lora_dropout=0.0, epochs=4, batch_size=8)
    launch(job, out=io.StringIO())
    prompts = [byte_tokenizer()(query + "\n")["input_ids"] for query in QUERIES]
    spec = {
        "base": str(model),
        "adapter": str(job.adapter),
        "longest": 64,
        "max_new_tokens": 8,
        "threads": 2,
        "kind": "vllm",
    }
    program, answer = tmp_path / "serve.py", tmp_path / "answer.json"
    program.write_text(SERVE)
    command = [sys.executable, str(program), json.dumps([spec, prompts]), str(answer)]
    subprocess.run(command, check=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)})
    adapted, plain, guided, first, after = json.loads(answer.read_text())
    assert guided == ["hello"] * 2  # although the adapter says something else
    assert 0 < first < 300  # of so many, the first were ready before the last
    assert after == adapted["answers"]  # the rest of them, which nobody waited for, is gone

    exact: Any = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), str(job.adapter)
    ).eval()
    expected = log_probabilities(exact, prompts, adapted["ids"])
    with exact.disable_adapter():
        unadapted, base = (
            log_probabilities(exact, prompts, adapted["ids"]),
            log_probabilities(exact, prompts, plain["ids"]),
        )
    # Served in bfloat16, expected in float32: rounding changes a log-probability by about 0.02, the adapter changes
    # each by more than 2.
    np.testing.assert_allclose(np.concatenate(adapted["logs"]), expected, rtol=0, atol=0.06)
    np.testing.assert_allclose(np.concatenate(plain["logs"]), base, rtol=0, atol=0.06)
    assert np.abs(unadapted - expected).min() > 1
    for side in (adapted, plain):  # the answers compared above are those of the engine that scores adapters
        assert side["answers"] == side["texts"]
