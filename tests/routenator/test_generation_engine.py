"""Tests of both engines with the real small model: order, seeds, structured output, limits and failures."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from routenator.config import EngineConfig
from routenator.errors import StageError
from routenator.generation import loading
from routenator.generation.engine import Engine, Prompt
from routenator.generation.generator import QUERY_SCHEMA
from routenator.generation.loading import release_engine, use_engine
from routenator.generation.vllm_engine import prepare_environment
from tests.conftest import ROOT

CACHE = ROOT / ".cache"
PROFILE = yaml.safe_load((ROOT / "configs" / "model" / "smollm2-135m.yaml").read_text())["model"]["generator"]
SHORT = {**QUERY_SCHEMA, "properties": {"query": {"type": "string", "maxLength": 20}}}
GRAMMAR = 'root ::= ("find a " | "show me a ") "red dog" " " ("poster" | "card")'


def prompt(text: str, seed: int = 1, **more: object) -> Prompt:
    return Prompt([{"role": "user", "content": text}], seed=seed, max_tokens=24, **more)  # type: ignore[arg-type]


PROMPTS = [
    prompt("Name a colour.", temperature=0.0),
    prompt("Ask for a picture of a red dog.", grammar=GRAMMAR),
    prompt("Write a search query about tea as JSON.", schema=SHORT, temperature=0.2),
    prompt("Name a colour.", seed=1, stop=("e",)),
    prompt("Name a colour.", seed=2),
    prompt("word " * 4000),
]


@pytest.fixture(scope="module", params=["transformers", "vllm"])
def name(request: pytest.FixtureRequest) -> str:
    """Module scope makes pytest run all tests of one engine before those of the next."""
    return str(request.param)


@pytest.fixture
def engine(name: str) -> Engine:
    """Uses the profile unchanged, so that tests of the stage share the loaded model."""
    return loaded(name)


def loaded(name: str) -> Engine:
    return use_engine(EngineConfig.model_validate({**PROFILE, "engine": name}), CACHE)


@pytest.mark.slow
def test_replies_come_in_order_and_are_repeatable(engine: Engine) -> None:
    replies = engine.generate(PROMPTS)
    assert replies == engine.generate(PROMPTS), "a reply depends on its batch alone"
    assert replies[1].text.endswith(("red dog poster", "red dog card"))
    assert isinstance(json.loads(replies[2].text)["query"], str)
    assert "e" not in replies[3].text
    assert all(0 < reply.completion_tokens <= 24 and reply.prompt_tokens > 5 for reply in replies[:5])


@pytest.mark.slow
def test_only_the_prompt_that_does_not_fit_is_refused(engine: Engine) -> None:
    long, short = engine.generate([PROMPTS[5], PROMPTS[0]])
    assert long.refused and long.text == "" and long.prompt_tokens > 4000
    assert not short.refused and short.text


@pytest.mark.slow
def test_each_prompt_has_its_own_seed(engine: Engine) -> None:
    texts = [
        reply.text for reply in engine.generate([prompt("Tell me about the sea.", seed=seed) for seed in range(6)])
    ]
    assert len(set(texts)) > 3


@pytest.mark.slow
def test_no_prompts_give_no_replies(engine: Engine) -> None:
    assert engine.generate([]) == []


@pytest.mark.slow
def test_a_dead_engine_reports_its_error_and_is_replaced(engine: Engine, name: str) -> None:
    inner = "_llm" if hasattr(engine, "_llm") else "_model"
    kept = getattr(engine, inner)
    setattr(engine, inner, None)
    try:
        with pytest.raises(StageError, match=r"smollm2-135m-instruct failed: .*NoneType"):
            engine.generate([PROMPTS[0]])
        assert engine.lost
    finally:
        setattr(engine, inner, kept)
        engine.close()
    assert loaded(name) is not engine
    assert not loaded(name).lost


@pytest.mark.slow
def test_an_engine_that_fails_to_start_reports_its_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    release_engine()
    with pytest.raises(StageError, match="failed to start: "):
        use_engine(EngineConfig(model=str(tmp_path), engine="transformers"), CACHE)
    assert loading._loaded.engine is None


def test_the_environment_is_private_to_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        os,
        "environ",
        {"MASTER_PORT": "1234", "RANK": "3", "VLLM_PORT": "80", "OMP_NUM_THREADS": "7", "HOME": "/home/x"},
    )
    prepare_environment(tmp_path, cpu=True, kv_cache_gib=1.2)
    assert not {"MASTER_PORT", "RANK", "VLLM_PORT"} & set(os.environ)
    for name in ("VLLM_CACHE_ROOT", "VLLM_RPC_BASE_PATH", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        assert Path(os.environ[name]).is_relative_to(tmp_path)
    assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == "2" and os.environ["OMP_NUM_THREADS"] == "7"


def test_cpu_settings_are_not_made_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    prepare_environment(tmp_path, cpu=False, kv_cache_gib=1)
    assert not {name for name in os.environ if "CPU" in name or name.startswith("OMP")}
