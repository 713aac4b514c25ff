"""Greedy decoding with or without an adapter, so that a model is loaded once to score both.

On GPUs, vLLM serves the adapter beside the base model. On a CPU, its LoRA kernels are slow (78 tokens/s instead of 590,
SmolLM2-135M on two cores), so there the adapter is first merged into a copy of the weights. A QLoRA adapter was trained
against nf4 weights but is run here, as in production, on the base model's own precision; the scores include any loss
from that.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from routenator.config import Dtype
from routenator.errors import InputError, StageError
from routenator.extras import require
from routenator.files import read_json
from routenator.generation.vllm_engine import on_cpu, plain_folder, prepare_environment
from routenator.quiet import is_quiet, name_accelerator
from routenator.training.adapter import check_weights

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # values that vLLM accepts as max_lora_rank
_ROWS = 32  # prompts in a batch of transformers


@dataclass(frozen=True)
class EngineSpec:
    """The model that an engine loads, and the limits that it is loaded with.

    Attributes:
        base: folder or hub id of the base model.
        adapter: folder of a PEFT adapter, or None.
        kind: engine to use; adapters other than LoRA (prompt tuning) always run with transformers.
        longest: tokens of the longest prompt.
        max_new_tokens: maximum length of an answer, in tokens.
        threads: CPU threads of this engine.
        dtype: precision of the weights; ``auto``: that of the base model's files.
    """

    base: str
    adapter: str | None
    kind: Literal["vllm", "transformers"]
    longest: int
    max_new_tokens: int
    threads: int
    dtype: Dtype = "auto"

    @property
    def engine(self) -> Literal["vllm", "transformers"]:
        """The engine that is actually used."""
        return (
            "transformers"
            if self.adapter is not None and _adapter_config(self.adapter)["peft_type"] != "LORA"
            else self.kind
        )


def _adapter_config(folder: str) -> dict[str, Any]:
    file = Path(folder) / "adapter_config.json"
    value = read_json(file)
    if not isinstance(value, dict) or "peft_type" not in value:
        raise InputError("not a PEFT adapter's config", file=file, key="peft_type", found="nothing")
    return value


def max_lora_rank(adapter: str) -> int:
    """The least ``max_lora_rank`` with which vLLM serves a LoRA adapter.

    Raises:
        InputError: its rank is too high.
    """
    config = _adapter_config(adapter)
    rank = max(config["r"], *config.get("rank_pattern", {}).values(), 1)
    allowed = [value for value in _RANKS if value >= rank]
    if not allowed:
        raise InputError(
            "vLLM serves no adapter of this rank", file=adapter, key="r", found=rank, expected=f"at most {_RANKS[-1]}"
        )
    return allowed[0]


@contextlib.contextmanager
def _spared(*names: str) -> Iterator[None]:
    """Hide packages that transformers and PEFT import wherever they find them, and that plain weights do not need.

    Their imports take about as long as loading a small model. One that this process has imported already is left alone.
    """
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # neither `import` nor `find_spec` finds it
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def auto_classes() -> tuple[Any, Any]:
    """Import and return transformers' ``AutoModelForCausalLM`` and ``AutoTokenizer``."""
    with _spared("sklearn"):
        from transformers import AutoModelForCausalLM, AutoTokenizer
    return AutoModelForCausalLM, AutoTokenizer


def _with_adapter(model: Any, adapter: str) -> Any:
    """A model in transformers with an adapter, by PEFT.

    Raises:
        InputError: the adapter's weights are missing or damaged.
    """
    check_weights(Path(adapter))
    name_accelerator()
    spared = [] if getattr(model, "is_quantized", False) else ["bitsandbytes"]
    with _spared(*spared):
        from peft import PeftModel
        from peft.import_utils import is_bnb_4bit_available, is_bnb_available

        adapted = PeftModel.from_pretrained(model, adapter)
    for answer in (is_bnb_available, is_bnb_4bit_available):
        answer.cache_clear()  # another model of this process may need it
    return adapted


def merge_adapter(base: str, adapter: str, folder: Path, *, template: str | None = None, dtype: Dtype = "auto") -> None:
    """Write a model folder with the adapter merged into the base model's weights.

    Args:
        base: folder or hub id.
        adapter: folder of a LoRA adapter.
        folder: of the merged model.
        template: its chat template; None: the base model's.
        dtype: precision of its weights; ``auto``: that of the base model's files.

    Raises:
        InputError: a package is missing, or the adapter's weights are missing or damaged.
        StageError: the adapter does not fit the model.
    """
    require("evaluate", "merging an adapter", ("torch", "transformers", "peft"))
    import torch
    from transformers.utils.logging import disable_progress_bar

    AutoModelForCausalLM, AutoTokenizer = auto_classes()
    disable_progress_bar()
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    try:
        with torch.inference_mode():
            merged: Any = _with_adapter(model, adapter).merge_and_unload()
    except (RuntimeError, ValueError, OSError) as error:
        raise StageError(f"the adapter {adapter} does not fit the model {base}: {error}") from error
    merged.save_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    if template is not None:
        tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


@dataclass(frozen=True)
class Finished:
    """An answer that is whole.

    Attributes:
        number: place of its prompt among the prompts that were given.
        text: without special tokens.
        seconds: from when the engine began with the prompt to the answer's last token. Up to ``decoded_together``
            prompts share the engine meanwhile.
        cut_off: whether it reached the most tokens that an answer may have, instead of its own end.
    """

    number: int
    text: str
    seconds: float
    cut_off: bool


def decoded_together(engine: Literal["vllm", "transformers"]) -> int:
    """Return how many prompts an engine decodes at the same time; more of them wait their turn."""
    return _ROWS if engine == "transformers" else 64 if on_cpu() else 256


class GreedyEngine(ABC):
    """A loaded model."""

    @abstractmethod
    def stream(
        self, prompts: Sequence[Sequence[int]], adapted: bool, guide: str | None = None
    ) -> Iterator[list[Finished]]:
        """Generate the model's answers; yield them as they are finished, in any order.

        Args:
            prompts: token ids.
            adapted: True to use the adapter, False for the base model alone.
            guide: structural tag that restricts the answers (routenator/chat/guided.py); None: they are free.
        """

    def answer(self, prompts: Sequence[Sequence[int]], adapted: bool, guide: str | None = None) -> list[str]:
        """Generate the model's answers, as ``stream`` does; return their texts in the order of the prompts."""
        texts = [""] * len(prompts)
        for some in self.stream(prompts, adapted, guide):
            for one in some:
                texts[one.number] = one.text
        return texts

    @abstractmethod
    def close(self) -> None:
        """Free memory and remove scratch files."""


def open_engine(spec: EngineSpec) -> GreedyEngine:
    """Load the model.

    Sets the number of threads, so torch must not have been imported before.
    """
    os.environ["OMP_NUM_THREADS"] = str(spec.threads)
    return VllmGreedy(spec) if spec.engine == "vllm" else TransformersGreedy(spec)


class VllmGreedy(GreedyEngine):
    """vLLM, with the adapter as a LoRA request."""

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._llm: Any = None
        self._scratch = Path(tempfile.mkdtemp(prefix="rn-"))
        try:
            cpu = on_cpu()
            prepare_environment(self._scratch, cpu, kv_cache_gib=1.0)
            from vllm import LLM

            more: dict[str, Any] = {}
            if spec.adapter is not None:
                more = {"enable_lora": True, "max_loras": 1, "max_lora_rank": max_lora_rank(spec.adapter)}
            self._llm = LLM(
                model=plain_folder(spec.base, self._scratch),
                dtype=spec.dtype,
                max_model_len=spec.longest + spec.max_new_tokens,
                max_num_seqs=decoded_together("vllm"),
                enforce_eager=cpu,  # compiling takes longer than the golden set
                enable_prefix_caching=True,
                seed=0,
                disable_log_stats=False,  # without them it keeps no time of an answer
                use_tqdm_on_load=not is_quiet(),
                **more,
            )
        except BaseException:
            self.close()
            raise

    def stream(
        self, prompts: Sequence[Sequence[int]], adapted: bool, guide: str | None = None
    ) -> Iterator[list[Finished]]:
        from vllm import SamplingParams
        from vllm.lora.request import LoRARequest
        from vllm.sampling_params import StructuredOutputsParams

        request = LoRARequest("adapter", 1, self._spec.adapter) if adapted and self._spec.adapter is not None else None
        ids = self._llm.enqueue(
            [{"prompt_token_ids": list(prompt)} for prompt in prompts],
            SamplingParams(
                temperature=0.0,
                max_tokens=self._spec.max_new_tokens,
                structured_outputs=StructuredOutputsParams(structural_tag=guide) if guide is not None else None,
            ),
            use_tqdm=False,
            lora_request=request,
        )
        # An output has the id that the engine made unique by a suffix.
        waiting = {name.partition("-")[0]: number for number, name in enumerate(ids)}
        engine = self._llm.llm_engine
        try:
            while waiting:
                finished = [
                    Finished(
                        waiting.pop(output.request_id),
                        output.outputs[0].text,
                        output.metrics.last_token_ts - output.metrics.scheduled_ts,
                        output.outputs[0].finish_reason == "length",
                    )
                    for output in engine.step()
                    if output.finished
                ]
                if finished:
                    yield finished
        finally:
            if waiting:  # nobody wants the rest, and the next call must not get it
                engine.abort_request(list(waiting))

    def close(self) -> None:
        if self._llm is not None:
            from vllm.distributed import cleanup_dist_env_and_memory

            self._llm = None
            gc.collect()
            cleanup_dist_env_and_memory()  # the next model is loaded into this same process
        shutil.rmtree(self._scratch, ignore_errors=True)


class TransformersGreedy(GreedyEngine):
    """transformers' generate, with the adapter by PEFT, in batches of prompts of similar length."""

    def __init__(self, spec: EngineSpec) -> None:
        import torch
        from transformers.utils.logging import disable_progress_bar

        AutoModelForCausalLM, AutoTokenizer = auto_classes()
        disable_progress_bar()
        self._spec = spec
        if not torch.cuda.is_available():
            torch.set_num_threads(spec.threads)
        self._tokenizer = AutoTokenizer.from_pretrained(spec.base)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model: Any = AutoModelForCausalLM.from_pretrained(spec.base, dtype=spec.dtype)
        model = model.to(device)
        self._learned_prompt = False
        if spec.adapter is not None:
            model = _with_adapter(model, spec.adapter)
            self._learned_prompt = _adapter_config(spec.adapter)["peft_type"] != "LORA"
        self._model: Any = model.eval()
        self._compiled: dict[str, Any] = {}

    def stream(
        self, prompts: Sequence[Sequence[int]], adapted: bool, guide: str | None = None
    ) -> Iterator[list[Finished]]:
        for batch in self._batches(prompts):
            began = time.monotonic()
            answers = self._batch([prompts[number] for number in batch], adapted, guide)
            seconds = time.monotonic() - began  # all answers of a batch end together
            yield [Finished(number, text, seconds, cut) for number, (text, cut) in zip(batch, answers, strict=True)]

    def _batches(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        batches: list[list[int]] = []
        for number in sorted(range(len(prompts)), key=lambda number: len(prompts[number])):
            # Left padding would come between a learned prompt and the query and shift the query's positions, so all
            # prompts of such a batch have the same length.
            full = not batches or len(batches[-1]) == _ROWS
            if full or (self._learned_prompt and len(prompts[batches[-1][0]]) != len(prompts[number])):
                batches.append([])
            batches[-1].append(number)
        return batches

    def _batch(self, prompts: list[Sequence[int]], adapted: bool, guide: str | None) -> list[tuple[str, bool]]:
        """The text of each answer, and whether it was cut off."""
        import torch

        longest = max(map(len, prompts))
        padding = (
            self._tokenizer.pad_token_id if self._tokenizer.pad_token_id is not None else self._tokenizer.eos_token_id
        )
        ids = torch.tensor(
            [[padding] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=self._model.device
        )
        mask = torch.tensor(
            [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=self._model.device
        )
        plain = self._spec.adapter is not None and not adapted
        with torch.inference_mode(), self._model.disable_adapter() if plain else contextlib.nullcontext():
            output = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=self._spec.max_new_tokens,
                pad_token_id=padding,
                logits_processor=[self._guided(guide, len(prompts))] if guide is not None else None,
            )
        # With a learned prompt, generate starts from embeddings and returns only the answer.
        start = 0 if output.shape[1] <= self._spec.max_new_tokens and self._learned_prompt else longest
        answers = output[:, start:]
        ends = self._model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        cut = [ends.isdisjoint(answer) for answer in answers.tolist()]
        return list(zip(self._tokenizer.batch_decode(answers, skip_special_tokens=True), cut, strict=True))

    def _guided(self, guide: str, count: int) -> Any:
        """A processor that masks the tokens outside a structural tag."""
        require("generate", "restricted replies in transformers", ("xgrammar",), key="evaluate.guided")
        import xgrammar
        from xgrammar.contrib.hf import LogitsProcessor

        if guide not in self._compiled:
            info = xgrammar.TokenizerInfo.from_huggingface(self._tokenizer, vocab_size=self._model.config.vocab_size)
            self._compiled[guide] = xgrammar.GrammarCompiler(info).compile_structural_tag(guide)
        return LogitsProcessor([self._compiled[guide]] * count)

    def close(self) -> None:
        self._model = None
        gc.collect()
