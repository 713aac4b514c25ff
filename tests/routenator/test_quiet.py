"""What the libraries say of themselves, and what of it is shown."""

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
logging.getLogger("bitsandbytes").warning("install kernels")
logging.getLogger("bitsandbytes").error("cannot go on")
warnings.warn("one library calls another's old function", FutureWarning)
warnings.warn("a number is wrong", RuntimeWarning)
print(os.environ["VLLM_LOGGING_LEVEL"], flush=True)
subprocess.run([sys.executable, "-c", "import warnings; warnings.warn('in a process of theirs', FutureWarning)"])
"""


@pytest.mark.parametrize(("value", "shown"), [("", False), ("0", False), ("1", True)])
def test_only_errors_and_what_concerns_results_is_shown_unless_asked_for(value: str, shown: bool) -> None:
    environment = {name: text for name, text in os.environ.items() if name not in ("PYTHONWARNINGS",)}
    environment |= {VARIABLE: value, "PYTHONPATH": str(ROOT)}
    environment.pop("VLLM_LOGGING_LEVEL", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "cannot go on" in done.stderr and "a number is wrong" in done.stderr
    for text in ("install kernels", "old function", "in a process of theirs"):
        assert (text in done.stderr) == shown, text
    assert done.stdout.strip() == ("INFO" if shown else "ERROR")


def test_a_level_that_the_user_set_stays() -> None:
    environment = {**os.environ, "VLLM_LOGGING_LEVEL": "WARNING", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "WARNING"
