"""The recorded provenance of results, and what it leaves out."""

from __future__ import annotations

import pytest

from slurm.experiments.provenance import nameless


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("golden=/home/team/snips.jsonl", "golden=snips.jsonl"),
        ("root=/scratch/ours/runs", "root=runs"),
        ('{"golden": "/data/ours/snips.jsonl"}', '{"golden": "snips.jsonl"}'),
        ("~/runs/x", "x"),
        ("configs/experiments/snips.yaml", "configs/experiments/snips.yaml"),
        ("generate.routes={heuristic: 0.9, text: 0.1}", "generate.routes={heuristic: 0.9, text: 0.1}"),
        ("org/model", "org/model"),
    ],
)
def test_folders_of_absolute_paths_are_left_out(text: str, expected: str) -> None:
    assert nameless(text) == expected
