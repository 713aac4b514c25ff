"""Real engines on a real Ray with a tiny model, and how their failures are reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from routenator.config import Dtype, EvaluateConfig
from routenator.domain.golden import GoldenCall, GoldenExample
from routenator.errors import InputError, StageError
from routenator.evaluation import predict
from routenator.evaluation.engines import EngineSpec, merge_adapter, open_engine
from routenator.evaluation.predict import PromptSet, _Actor, _even, ask
from routenator.evaluation.run import evaluate_model, form_of, latency_of, subset, which_model
from routenator.files import read_json
from routenator.training.adapter import AdapterCard, read_template
from tests.conftest import ROOT, TINY
from tests.routenator.tiny_model import QUERIES, TOOLS, byte_tokenizer, save_random_adapter, save_tiny_model

CACHE = ROOT / ".cache"
SAYS_HELLO = json.dumps({"type": "structural_tag", "format": {"type": "const_string", "value": "hello"}})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_adapter(model, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    tokenizer = byte_tokenizer()
    return [tokenizer(query + "\n")["input_ids"] for query in QUERIES * 8]


def spec(model: Path, adapter: Path | None = None, **changes: Any) -> EngineSpec:
    return EngineSpec(
        **{
            "base": str(model),
            "adapter": str(adapter) if adapter else None,
            "kind": "transformers",
            "longest": 99,
            "max_new_tokens": 8,
            "threads": 1,
        }
        | changes
    )


@pytest.mark.slow
def test_batches_do_not_change_answers(model: Path, adapter: Path, prompts: list[list[int]]) -> None:
    engine = open_engine(spec(model, adapter))
    together = engine.answer(prompts[:5], adapted=True)
    assert together == [engine.answer([prompt], adapted=True)[0] for prompt in prompts[:5]]
    assert together != engine.answer(prompts[:5], adapted=False)
    (finished,) = engine.stream(prompts[:5], adapted=True)
    assert sorted(one.number for one in finished) == [0, 1, 2, 3, 4]
    assert all(0 < one.seconds < 60 for one in finished)
    assert all(one.cut_off for one in finished)  # the random model never ends
    engine.close()


@pytest.mark.slow
def test_a_structural_tag_restricts_the_answers_of_transformers(model: Path, prompts: list[list[int]]) -> None:
    engine = open_engine(spec(model, max_new_tokens=12))
    assert engine.answer(prompts[:3], adapted=False, guide=SAYS_HELLO) == ["hello"] * 3
    assert "hello" not in engine.answer(prompts[:3], adapted=False)
    ((one,),) = engine.stream(prompts[:1], adapted=False, guide=SAYS_HELLO)
    assert not one.cut_off
    engine.close()


def test_latency_has_mean_and_percentiles() -> None:
    found = latency_of([0.001 * number for number in range(1, 101)], "transformers")
    assert found == {"mean": 0.0505, "p50": 0.0505, "p95": pytest.approx(0.095, abs=1e-3), "at_once": 32}
    assert latency_of([0.5], "transformers") == {"mean": 0.5, "p50": 0.5, "p95": 0.5, "at_once": 1}


@pytest.mark.slow
def test_a_merged_adapter_answers_like_the_adapter(
    model: Path, adapter: Path, prompts: list[list[int]], tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    merge_adapter(str(model), str(adapter), tmp_path / "merged")
    base = AutoModelForCausalLM.from_pretrained(model)
    ids = torch.tensor([prompts[0]])
    plain = base(input_ids=ids).logits
    tuned = PeftModel.from_pretrained(base, str(adapter))(input_ids=ids).logits
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(input_ids=ids).logits
    assert (merged - tuned).abs().max() < 0.1 * (plain - tuned).abs().max()


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.slow
def test_weights_are_merged_in_the_precision_that_is_asked_for(
    model: Path, adapter: Path, tmp_path: Path, dtype: Dtype
) -> None:
    from safetensors.torch import load_file

    merge_adapter(str(model), str(adapter), tmp_path / "merged", dtype=dtype)
    weights = load_file(tmp_path / "merged" / "model.safetensors")
    assert {str(weight.dtype) for weight in weights.values()} == {f"torch.{dtype}"}


@pytest.mark.slow
def test_a_learned_prompt_is_run_by_transformers_and_not_shifted_by_padding(
    model: Path, prompts: list[list[int]], tmp_path: Path
) -> None:
    import torch
    from peft import PromptTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(2)
    get_peft_model(
        AutoModelForCausalLM.from_pretrained(model), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    ).save_pretrained(tmp_path)
    learned = spec(model, tmp_path, kind="vllm")
    assert learned.engine == "transformers"
    engine = open_engine(learned)
    together = engine.answer(prompts[:7], adapted=True)
    assert together == [engine.answer([prompt], adapted=True)[0] for prompt in prompts[:7]]
    assert all(len(text) <= 8 * 4 for text in together)


@pytest.mark.slow
def test_two_actors_answer_both_sides(model: Path, adapter: Path, prompts: list[list[int]], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    handlers = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        handlers.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    sides = {
        "before": PromptSet("tools", False, prompts=prompts),
        "after": PromptSet("tools", True, prompts=prompts[:33]),
    }
    answers = ask(sides, spec(model, adapter), workers=2, scratch=tmp_path, progress=progress)
    engine = open_engine(spec(model, adapter))
    assert answers["before"].texts == [
        *engine.answer(prompts[:32], adapted=False),
        *engine.answer(prompts[32:], adapted=False),
    ]
    assert answers["after"].texts == [
        *engine.answer(prompts[:32], adapted=True),
        *engine.answer(prompts[32:33], adapted=True),
    ]
    assert seen[-1] == (73, 73)
    assert [len(side.latencies) for side in answers.values()] == [40, 33]
    assert [side.cut_off for side in answers.values()] == [40, 33]
    assert all(0 < seconds < side.seconds for side in answers.values() for seconds in side.latencies)
    assert {*handlers, signal.getsignal(signal.SIGTERM)} == {before}  # the scheduler's, not Ray's
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_batches_are_few_and_of_even_size() -> None:
    assert list(_even(0)) == []
    assert list(_even(512)) == [(0, 512)]
    assert list(_even(513)) == [(0, 256), (256, 513)]
    assert [high - low for low, high in _even(2000)] == [500] * 4


@pytest.mark.slow
def test_an_actor_speaks_within_a_batch(model: Path, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {}
    for seconds in (0.0, 600.0):
        monkeypatch.setattr(predict, "_SAYS_S", seconds)
        parts[seconds] = [len(part) for part in _Actor().answer(spec(model), False, prompts, None)]
    assert parts == {0.0: [32, 8], 600.0: [40]}


@pytest.mark.slow
def test_a_killed_actor_is_an_error_and_does_not_hang(model: Path, prompts: list[list[int]], tmp_path: Path) -> None:
    import psutil

    def kill(done: int, total: int) -> None:
        for child in psutil.Process().children(recursive=True):
            if child.name().startswith("ray::"):
                child.kill()

    with pytest.raises(StageError, match="an evaluation worker died"):
        ask(
            {"before": PromptSet("tools", False, prompts=prompts * 40)},  # many seconds, in several batches
            spec(model),
            workers=1,
            scratch=tmp_path,
            progress=kill,
        )
    assert [child for child in psutil.Process().children(recursive=True) if "ray" in child.name()] == []


@pytest.mark.slow
def test_actors_do_not_give_way_to_every_other_process_of_the_node() -> None:
    """Ray makes its workers as nice as 15, so beside another user's job they hardly ran."""
    script = (
        "import os\nfrom routenator.evaluation.cluster import ray_instance\nwith ray_instance(1):\n"
        "    import ray\n    print(ray.get(ray.remote(lambda: os.nice(0)).remote()))\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(os.nice(0))]


@pytest.mark.slow
def test_an_engine_that_does_not_start_says_why(prompts: list[list[int]], tmp_path: Path) -> None:
    byte_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "no_such_architecture"}')
    with pytest.raises(StageError, match="no_such_architecture") as caught:
        ask({"before": PromptSet("tools", False, prompts=prompts)}, spec(tmp_path), workers=1, scratch=tmp_path)
    assert "\x1b" not in str(caught.value)


def test_an_adapter_is_asked_in_its_own_form_and_the_untrained_model_in_one_for_untrained_models(
    tmp_path: Path,
) -> None:
    tokenizer = byte_tokenizer()
    card = AdapterCard(
        domain="d", base_model="x", prompt="tools", tools=TOOLS, tool_call_parser="hermes", method="lora", steps=1
    )
    card.write(tmp_path, "{{ messages[0].content }}!")
    after = form_of(PromptSet("tools", adapted=True), TOOLS, tokenizer, tmp_path, several=True)
    before = form_of(PromptSet("tools", adapted=False), TOOLS, tokenizer, tmp_path, several=True)
    assert after.prompt_text("find cats") == "find cats!"
    assert "Request: find cats\nCall:" in before.prompt_text("find cats")


@pytest.mark.slow
def test_evaluate_model_scores_a_base_model_and_an_adapter(model: Path, adapter: Path, tmp_path: Path) -> None:
    """With real embeddings for SS. The random model's replies have no call, and the scores show it."""
    config = EvaluateConfig(engine="transformers", max_new_tokens=6, bootstrap=50)
    golden = TINY / "golden.jsonl"
    scores = evaluate_model(str(model), TINY, golden, tmp_path / "base", cache=CACHE, config=config)
    assert (scores["n"], scores["prompt"], scores["engine"]) == (5, "tools", "transformers")
    assert scores["missed_call"]["value"] + scores["unparsable"]["value"] == 1.0
    assert (
        scores["latency"]["at_once"] == 5
        and 0 < scores["latency"]["p50"] <= scores["latency"]["p95"] < scores["seconds"]
    )
    assert sum(scores["errors"].values()) == 5 and not {*scores["errors"]} - {"unparsable", "missing_call"}
    assert read_json(tmp_path / "base" / "scores.json") == scores
    rows = [json.loads(line) for line in (tmp_path / "base" / "predictions.jsonl").read_text().splitlines()]
    assert [row["query"] for row in rows] == [json.loads(line)["query"] for line in golden.read_text().splitlines()]
    assert all(row["model"]["calls"] == [] for row in rows)
    tuned = evaluate_model(str(adapter), TINY, golden, cache=CACHE, config=config, prompt="compact")
    assert (tuned["n"], tuned["prompt"], tuned["cta"]["value"]) == (5, "compact", 0.0)


@pytest.mark.slow
def test_real_embeddings_rank_a_paraphrase_above_another_topic() -> None:
    from routenator.evaluation.embed import sentence_embedder
    from routenator.models import resolve_model

    one, near, far = sentence_embedder(resolve_model("package:all-minilm-l6-v2", CACHE))(
        ["dog on the beach", "puppy by the sea", "tax form"]
    )
    assert one @ one == pytest.approx(1, abs=1e-5)
    assert one @ near > 0.5 > one @ far


def golden_of(count: int) -> list[GoldenExample]:
    return [GoldenExample(f"query {number}", (GoldenCall("search", {}),)) for number in range(count)]


def test_a_subset_is_keyed_nested_and_in_order() -> None:
    golden = golden_of(50)
    small, large = subset(golden, 10, seed=1), subset(golden, 30, seed=1)
    assert len(small) == 10
    assert {e.query for e in small} < {e.query for e in large}
    assert [golden.index(e) for e in large] == sorted(golden.index(e) for e in large)
    assert subset(golden, 10, seed=2) != small
    assert subset(golden, 0, seed=1) == subset(golden, 99, seed=1) == golden


@pytest.mark.slow
def test_a_model_is_an_adapter_by_its_card_or_a_base_model(model: Path, adapter: Path, tmp_path: Path) -> None:
    assert which_model(str(model), None) == (str(model), None, "tools")
    assert which_model(str(adapter), "compact") == (str(model), adapter, "compact")
    for path in adapter.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    card = AdapterCard(
        domain="d", base_model=str(model), prompt="compact", tools=TOOLS,
        tool_call_parser="hermes", method="lora", steps=1,
    )  # fmt: skip
    card.write(tmp_path, "{{ messages }}")
    assert which_model(str(tmp_path), None) == (str(model), tmp_path, "compact")
    assert which_model(str(tmp_path), "tools")[2] == "tools"
    assert read_template(tmp_path, "compact") == "{{ messages }}" and read_template(tmp_path, "tools") is None
    assert read_template(adapter, "compact") is None
    (tmp_path / "routenator.json").write_text(card.model_copy(update={"format": 1}).model_dump_json())
    with pytest.raises(InputError, match="trained on prompts of another form; train it again"):
        which_model(str(tmp_path), None)


@pytest.mark.slow
def test_a_plain_adapter_needs_a_style_and_a_wrong_path_is_refused(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no routenator\.json") as caught:
        which_model(str(adapter), None)
    assert caught.value.key == "--prompt"
    with pytest.raises(InputError) as caught:
        which_model(str(tmp_path / "nowhere"), None)
    assert caught.value.key == "MODEL"


@pytest.mark.slow
def test_a_model_without_a_tokenizer_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InputError, match="tokenizer") as caught:
        evaluate_model(str(tmp_path), TINY, TINY / "golden.jsonl", cache=CACHE)
    assert caught.value.found == str(tmp_path)


@pytest.mark.slow
def test_an_adapter_of_another_model_is_an_error(model: Path, adapter: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    config = AutoModelForCausalLM.from_pretrained(model).config
    config.hidden_size, config.head_dim = 32, 8
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "other")
    byte_tokenizer().save_pretrained(tmp_path / "other")
    with pytest.raises(StageError, match="does not fit"):
        merge_adapter(str(tmp_path / "other"), str(adapter), tmp_path / "merged")


@pytest.mark.slow
def test_an_adapted_side_needs_an_adapter(model: Path, prompts: list[list[int]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no adapter"):
        ask({"after": PromptSet("tools", True, prompts=prompts)}, spec(model), workers=1, scratch=tmp_path)
