"""Tests of dividing GPUs or cores among a task's engines."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from routenator.config import EngineConfig
from routenator.errors import InputError
from routenator.generation.places import Place, divide
from tests.conftest import ROOT


def config(width: int, engines: object = "auto") -> EngineConfig:
    return EngineConfig.model_validate({"model": "org/model", "tensor_parallel_size": width, "engines": engines})


@pytest.mark.parametrize(
    ("width", "engines", "expected"),
    [
        (1, "auto", [("0",), ("1",), ("2",), ("3",), ("GPU-5e",)]),
        (2, "auto", [("0", "1"), ("2", "3")]),
        (4, "auto", [("0", "1", "2", "3")]),
        (2, 1, [("0", "1")]),
    ],
)
def test_gpus_are_divided_without_overlap(width: int, engines: object, expected: list[tuple[str, ...]]) -> None:
    assert [
        place.devices for place in divide(config(width, engines), ["0", "1", "2", "3", "GPU-5e"], [0, 1])
    ] == expected


@pytest.mark.parametrize(("width", "engines"), [(4, "auto"), (2, 2), (1, 4)])
def test_too_few_gpus_are_an_error(width: int, engines: object) -> None:
    with pytest.raises(InputError, match="too few GPUs"):
        divide(config(width, engines), ["0", "1", "2"], [0, 1])


def test_cores_are_divided_if_there_are_no_gpus() -> None:
    assert divide(config(1), [], [0, 1, 2]) == [Place((), (0, 1, 2), 3)]
    assert divide(config(1, 2), [], [0, 1, 2]) == [Place((), (0,), 1), Place((), (1, 2), 2)]
    assert [place.cores for place in divide(config(1, 3), [], [4, 7])] == [(4,), (4,), (7,)], "more engines than cores"
    assert divide(config(2, 1), [], [0, 1, 2, 3]) == [Place((), (0, 1, 2, 3), 2)], (
        "an engine's two processes share its cores"
    )


def test_a_process_keeps_to_its_place() -> None:
    core = min(os.sched_getaffinity(0))
    code = f"""
import os
from routenator.generation.places import Place
Place((), ({core},), 1).take()
assert os.sched_getaffinity(0) == {{{core}}} and os.environ["OMP_NUM_THREADS"] == "1"
Place(("GPU-5e", "3"), ({core},), 1).take()
assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-5e,3"
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
