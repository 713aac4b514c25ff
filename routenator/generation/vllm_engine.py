"""vLLM as an engine: text and vision-language models, structured output, prefix caching, a seed for each request.

Everything that tasks on one node could fight over is private to the task: compile cache, temporary files, sockets,
ports.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routenator.config import EngineConfig
from routenator.errors import StageError
from routenator.generation.engine import Engine, Message, Prompt, Reply, engine_lost
from routenator.quiet import is_quiet, quiet_libraries

if TYPE_CHECKING:
    from vllm import SamplingParams

# Set by another launcher, these would send two engines of a node to the same port.
_FOREIGN = ("VLLM_PORT", "MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def on_cpu() -> bool:
    """True if there is no accelerator."""
    import torch

    return not torch.cuda.is_available()


def prepare_environment(scratch: Path, cpu: bool, kv_cache_gib: float | None = None) -> None:
    """Set vLLM's environment variables. Must run before vLLM is imported, which reads some of them only then.

    Args:
        scratch: private folder of this task, on a local disk and with a short path (a socket's path is limited to 107
            characters).
        cpu: run without an accelerator; threads are not pinned, as tasks on one node would pin the same cores.
        kv_cache_gib: memory for the key-value cache on the CPU, in GiB.
    """
    for name in _FOREIGN:
        os.environ.pop(name, None)
    os.environ.update(
        VLLM_CACHE_ROOT=str(scratch / "vllm"),
        VLLM_CONFIG_ROOT=str(scratch / "config"),
        VLLM_RPC_BASE_PATH=str(scratch),
        TORCHINDUCTOR_CACHE_DIR=str(scratch / "inductor"),
        TRITON_CACHE_DIR=str(scratch / "triton"),
        VLLM_NO_USAGE_STATS="1",
        # One process schedules requests in a fixed order (docs.vllm.ai, "Reproducibility"); two, in the order in which
        # they happen to arrive.
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
    )
    os.environ.setdefault("VLLM_HOST_IP", "127.0.0.1")  # an engine never leaves its node
    quiet_libraries()
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # a script may parse our stdout
    if cpu:
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
        if kv_cache_gib is not None:
            os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(math.ceil(kv_cache_gib))


def plain_folder(model: str, scratch: Path) -> str:
    """Return a path of the model that vLLM can load: it takes a folder's path for a pattern when it looks for weights.

    Args:
        model: a hub id or folder.
        scratch: private folder of this task, where a link is made if needed.
    """
    if not set("[*?").intersection(model) or not Path(model).is_dir():
        return model
    link = scratch / "model"
    link.symlink_to(model, target_is_directory=True)
    return str(link)


class VllmEngine(Engine):
    """A model in vLLM.

    Args:
        name: recorded in the data.
        model: a hub id or folder.
        config: the profile's engine section.
    """

    def __init__(self, name: str, model: str, config: EngineConfig) -> None:
        self.name, self.context = name, config.max_model_len
        self._scratch = Path(tempfile.mkdtemp(prefix="rn-"))
        self._llm: Any = None
        try:
            cpu = on_cpu()
            prepare_environment(self._scratch, cpu, config.kv_cache_gib)
            from vllm import LLM

            more: dict[str, Any] = {"gpu_memory_utilization": config.gpu_memory_utilization}
            if cpu:
                # Chunked prefill rewinds a prompt's seeded generator, which torch cannot do on the CPU ("CPU Generator
                # does not use offset"), so prompts are never split.
                more = {"enable_chunked_prefill": False, "max_num_batched_tokens": max(4096, config.max_model_len)}
            before = multiprocessing.active_children()
            with _llvm_hidden():
                self._llm = LLM(
                    model=plain_folder(model, self._scratch),
                    dtype=config.dtype,
                    tensor_parallel_size=config.tensor_parallel_size,
                    max_model_len=config.max_model_len,
                    max_num_seqs=config.max_num_seqs,
                    enforce_eager=config.enforce_eager,
                    enable_prefix_caching=True,
                    seed=0,
                    disable_log_stats=True,
                    use_tqdm_on_load=not is_quiet(),
                    **more,
                )
            _compile_grammars_at_once(self._llm)
            if parts := [process for process in multiprocessing.active_children() if process not in before]:
                threading.Thread(target=self._watch, args=(parts,), daemon=True).start()
        except BaseException:
            self.close()
            raise

    def _generate(self, prompts: list[Prompt]) -> list[Reply]:
        # Otherwise replies would depend on the content of the cache, and so on whether the task was interrupted before.
        self._llm.reset_prefix_cache()
        outputs = self._llm.chat(
            [list(prompt.messages) for prompt in prompts], sampling_parameters(prompts), use_tqdm=False
        )
        return [
            Reply(output.outputs[0].text, len(output.prompt_token_ids or ()), len(output.outputs[0].token_ids))
            for output in outputs
        ]

    def _watch(self, parts: list[BaseProcess]) -> None:
        """Wait for one of the model's worker processes to die; vLLM itself may wait for its answer forever."""
        wait([part.sentinel for part in parts])
        if self._llm is not None:  # not ``close``, which ends the workers on purpose
            for part in parts:  # the survivors would wait for the dead one forever, in a busy loop
                part.kill()
            engine_lost(
                StageError(f"the engine of {self.name} failed: one of its {len(parts)} processes died; see the log")
            )

    def _tokenize(self, messages: list[Message]) -> list[int]:
        tokens = self._llm.get_tokenizer().apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return list(tokens)

    def close(self) -> None:
        if self._llm is not None:
            llm, self._llm = self._llm, None
            del llm
            gc.collect()
        shutil.rmtree(self._scratch, ignore_errors=True)


def sampling_parameters(prompts: Sequence[Prompt]) -> list[SamplingParams]:
    """vLLM's sampling parameters for each prompt."""
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    def held(prompt: Prompt) -> StructuredOutputsParams | None:
        if prompt.schema is not None:
            return StructuredOutputsParams(json=prompt.schema, disable_any_whitespace=True)
        return StructuredOutputsParams(grammar=prompt.grammar) if prompt.grammar is not None else None

    return [
        SamplingParams(
            temperature=prompt.temperature,
            top_p=prompt.top_p,
            seed=prompt.seed,
            max_tokens=prompt.max_tokens,
            stop=list(prompt.stop),
            structured_outputs=held(prompt),
        )
        for prompt in prompts
    ]


class _Inline(Executor):
    """An executor that runs each call at once, in the calling thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _compile_grammars_at_once(llm: Any) -> None:
    """Make vLLM compile grammars before it schedules their requests.

    By default vLLM compiles them in threads and runs whichever requests are ready. The batches would then depend on
    timing, and with them the rounding of sums, and with that the replies.
    """
    core = getattr(getattr(llm.llm_engine, "engine_core", None), "engine_core", None)
    manager = getattr(core, "structured_output_manager", None)
    if manager is not None and hasattr(manager, "executor"):
        manager.executor = _Inline()
    else:
        logging.getLogger(__name__).warning(
            "cannot find where this version of vLLM compiles grammars: replies may differ slightly from run to run"
        )


@contextlib.contextmanager
def _llvm_hidden() -> Iterator[None]:
    """Hide numba's LLVM binding (llvmlite) from ``sys.modules`` while vLLM searches all modules for kernels.

    A wrapper in llvmlite claims to have any attribute, even ``__dict__``, and vLLM crashes on what it returns.
    """
    hidden = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "llvmlite"}
    for name in hidden:
        del sys.modules[name]
    try:
        yield
    finally:
        sys.modules.update(hidden)
