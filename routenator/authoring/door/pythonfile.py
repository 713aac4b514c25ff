"""Reads a Python file of typed functions or pydantic models. Its code runs, so a process of its own imports it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from routenator.authoring.door.forms import read_list
from routenator.authoring.door.tools import Api
from routenator.errors import InputError
from routenator.jsontext import BadJsonError, loads
from routenator.place import ROOT

_SECONDS = 120
_TAIL = 600


def read_python(file: Path, seconds: float = _SECONDS) -> Api:
    """Read a file's functions, or if it has none its models.

    Raises:
        InputError: it cannot be imported, takes too long, or has neither.
    """
    if not file.is_file():
        raise InputError("no such file", file=file, expected="a Python file of typed functions or pydantic models")
    command = [sys.executable, "-m", "routenator.authoring.door.pythonworker", str(file.resolve())]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            "importing this file takes too long", file=file, found=f"more than {seconds:g} seconds"
        ) from None
    try:
        answer = loads(done.stdout.strip().rpartition("\n")[2]) if done.returncode == 0 else None
    except BadJsonError:
        answer = None
    if not isinstance(answer, dict):
        said = " ".join(done.stderr.split())[-_TAIL:]
        raise InputError("this file cannot be imported", file=file, found=said or "no output", expected="a Python file")
    if not answer["tools"]:
        raise InputError(
            "this file defines no tools", file=file, found="neither typed functions nor pydantic models",
            expected="public functions with annotated parameters, or subclasses of pydantic.BaseModel",
        )  # fmt: skip
    api = read_list(answer["tools"], file)
    api.form = f"a Python file ({answer['kind']})"
    api.description = str(answer["about"])
    api.notes.insert(0, f"{file.name} was imported, in a process of its own: its code ran")
    api.notes += [f"{name}: {why}" for name, why in answer["left_out"].items()]
    return api
