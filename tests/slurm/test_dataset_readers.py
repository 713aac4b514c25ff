"""What reads a run's data sets for an experiment, where the run also wrote its messages as Parquet."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow.parquet as pq
import pytest

from routenator.dataset.files import split_files
from routenator.domain.domain import Domain
from routenator.files import read_json
from slurm.experiments.confirm import _known
from slurm.experiments.distribution import counted
from tests.jobs.test_merge import distinct
from tests.jobs.world import merged


@pytest.mark.parametrize("per_file", [1000, 60])
def test_experiments_read_the_examples_and_not_the_messages(tmp_path: Path, tiny: Domain, per_file: int) -> None:
    """Both took ``train.openai.parquet`` for a file of examples, and failed for want of its columns."""
    formats = ["openai_parquet"]
    run = merged(tmp_path, distinct, dataset={"size": 200, "rows_per_file": per_file}, merge={"formats": formats})
    merge = run.stage_dir("merge")
    entry: Any = SimpleNamespace(run=run, plan=run.plan)
    found = counted([entry], tiny).rows["function"]
    counts = read_json(merge / "merge.json")["counts"]
    files = [path for split in ("train", "validation") for path in split_files(merge / "dataset", split)]
    own = Counter(name for file in files for name in pq.read_table(file)["function"].to_pylist())
    assert found == own and found.total() == counts["final"]
    reader = cast("Any", SimpleNamespace(gold=lambda file, domain: []))
    assert len(_known(entry, reader)) == counts["final"]
