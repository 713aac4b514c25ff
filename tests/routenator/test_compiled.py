"""Compiled loops older than their sources are discarded."""

from __future__ import annotations

import os
from pathlib import Path

from routenator.compiled import discard_stale


def test_code_older_than_any_source_of_its_folder_is_removed(tmp_path: Path) -> None:
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    for name, time in (("loop.py", 100), ("inlined.py", 300)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time, time))
    for name, time in (
        ("loop.f-1.nbi", 200),
        ("loop.f-1.1.nbc", 200),
        ("loop.g-9.nbi", 400),
        ("loop.cpython-311.pyc", 200),
    ):
        (cache / name).touch()
        os.utime(cache / name, (time, time))
    discard_stale(tmp_path)
    assert sorted(file.name for file in cache.iterdir()) == ["loop.cpython-311.pyc", "loop.g-9.nbi"]
    discard_stale(tmp_path)
    assert len(list(cache.iterdir())) == 2
