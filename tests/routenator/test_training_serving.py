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

from routenator.evaluation.engines import EngineSpec, open_engine
from routenator.training.launch import launch
from tests.conftest import ROOT
from tests.routenator.tiny_model import QUERIES, byte_tokenizer, make_job, save_tiny_model

NEW_TOKENS = 8
# Another process: vLLM takes over the process that it is imported into.
SERVE = """
import json, sys
from routenator.evaluation.engines import EngineSpec, open_engine
if __name__ == "__main__":
    spec, prompts = json.loads(sys.argv[1])
    engine = open_engine(EngineSpec(**spec))
    answers = [engine.answer(prompts, adapted=adapted) for adapted in (True, False)]
    engine.close()
    open(sys.argv[2], "w").write(json.dumps(answers))
"""


@pytest.mark.slow
def test_vllm_serves_the_adapter_and_answers_like_transformers(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", head_dim=32, embedding=20.0)
    job = make_job(model, tmp_path / "run", method="lora", lora_r=16, lora_dropout=0.0, epochs=40, batch_size=8)
    launch(job, out=io.StringIO())
    tokenizer = byte_tokenizer()
    prompts = [tokenizer(query + "\n")["input_ids"] for query in QUERIES]
    spec: dict[str, Any] = {"base": str(model), "adapter": str(job.adapter), "longest": 64, "max_new_tokens": NEW_TOKENS, "threads": 2}
    program = tmp_path / "serve.py"
    program.write_text(SERVE)
    command = [sys.executable, str(program), json.dumps([{**spec, "kind": "vllm"}, prompts]), str(tmp_path / "answers.json")]
    subprocess.run(command, check=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)})
    adapted, plain = json.loads((tmp_path / "answers.json").read_text())
    engine = open_engine(EngineSpec(kind="transformers", **spec))
    expected = engine.answer(prompts, adapted=True)
    engine.close()
    # The two engines round differently, which may turn an answer of so small a model at a near tie; by chance not one would be equal.
    assert sum(ours == theirs for ours, theirs in zip(adapted, expected, strict=True)) >= len(prompts) - 2
    assert not set(adapted) & set(plain)
