"""Keeps what libraries say about themselves out of terminal and logs, which show our own lines and every error.

With ``ROUTENATOR_LIBRARY_LOGS=1`` they say all of it, down to vLLM's INFO.
"""

from __future__ import annotations

import logging
import os
import warnings

VARIABLE = "ROUTENATOR_LIBRARY_LOGS"
# bitsandbytes suggests, on some CPUs, to install kernels that nothing here needs; torch, to install triton.
_LOGGERS = ("bitsandbytes", "torch._library.triton")


def is_quiet() -> bool:
    """Whether the libraries are to report errors only."""
    return os.environ.get(VARIABLE, "") in ("", "0")


def quiet_environment() -> dict[str, str]:
    """Return variables for a process that has yet to import the libraries; those that the user set stay as they are."""
    quiet = {
        "VLLM_LOGGING_LEVEL": "ERROR" if is_quiet() else "INFO",
        "TORCH_CPP_LOG_LEVEL": "ERROR" if is_quiet() else "INFO",
        "TRANSFORMERS_VERBOSITY": "error" if is_quiet() else "info",
        # Bars of transformers' conversions and writers; one that redraws itself is a single long line of a log.
        **({"TQDM_DISABLE": "1"} if is_quiet() else {}),
        # Of libraries about each other's functions. Processes that they start get these too.
        **({"PYTHONWARNINGS": "ignore::FutureWarning,ignore::DeprecationWarning"} if is_quiet() else {}),
    }
    return {name: os.environ.get(name, value) for name, value in quiet.items()}


def quiet_libraries() -> None:
    """Have the libraries of this process, and of those that it starts, report errors only; best before their import."""
    os.environ.update(quiet_environment())
    if is_quiet():
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        for category in (FutureWarning, DeprecationWarning):
            warnings.simplefilter("ignore", category)


def name_accelerator() -> None:
    """Name the accelerator to DeepSpeed, which PEFT and transformers import, and which otherwise warns on stdout."""
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
