"""What the libraries say about themselves, and how much of it is shown."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from routenator.quiet import VARIABLE
from tests.conftest import ROOT

PROGRAM = """
import logging, os, subprocess, sys, warnings
from routenator.quiet import quiet_libraries
quiet_libraries()
from tqdm.auto import tqdm
list(tqdm([1], desc="Converting tensors", mininterval=0))
logging.getLogger("bitsandbytes").warning("install kernels")
logging.getLogger("bitsandbytes").error("cannot go on")
warnings.warn("one library calls another's old function", FutureWarning)
warnings.warn("a number is wrong", RuntimeWarning)
print(os.environ["VLLM_LOGGING_LEVEL"], os.environ["TRANSFORMERS_VERBOSITY"], flush=True)
subprocess.run([sys.executable, "-c", "import warnings; warnings.warn('in a process of theirs', FutureWarning)"])
"""


@pytest.mark.parametrize(("value", "shown"), [("", False), ("0", False), ("1", True)])
def test_only_errors_and_what_concerns_results_is_shown_unless_asked_for(value: str, shown: bool) -> None:
    environment = {name: text for name, text in os.environ.items() if name not in ("PYTHONWARNINGS",)}
    environment |= {VARIABLE: value, "PYTHONPATH": str(ROOT)}
    for name in ("VLLM_LOGGING_LEVEL", "TRANSFORMERS_VERBOSITY", "TQDM_DISABLE"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "cannot go on" in done.stderr and "a number is wrong" in done.stderr
    for text in ("install kernels", "old function", "in a process of theirs", "Converting tensors"):
        assert (text in done.stderr) == shown, text
    assert done.stdout.split() == (["INFO", "info"] if shown else ["ERROR", "error"])


def test_a_level_that_the_user_set_stays() -> None:
    levels = {"VLLM_LOGGING_LEVEL": "WARNING", "TRANSFORMERS_VERBOSITY": "debug"}
    environment = {**os.environ, **levels, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["WARNING", "debug"]


def test_the_training_process_is_quiet_before_it_imports_what_reports_on_its_import() -> None:
    """bitsandbytes wrote "Failed to load CPU gemm_4bit_forward" into the log of each training on some CPUs."""
    program = (
        "import sys, routenator.training.worker; print({'torch', 'transformers', 'bitsandbytes'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, timeout=600
    )
    assert done.stdout.strip() == "set()"
