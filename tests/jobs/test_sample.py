"""The sample stage: what it commits, whatever the number of shards and the size of its batches."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import jobs.sample
from jobs.plan import Run
from jobs.task import Task, read_receipt
from routenator.domain.loader import load_domain
from routenator.files import read_json
from routenator.sampling import GENERATOR
from routenator.sampling.sampler import Sampler
from routenator.schemas import REQUEST_COLUMNS, arrow_schema
from tests.jobs.world import make_run


def sampled(run: Run) -> pa.Table:
    """All shards' rows, with the last shard made first."""
    shards = range(run.plan.stages["sample"].shards)
    for index in reversed(shards):
        jobs.sample.run(Task(run, "sample", index))
    return pa.concat_tables([pq.read_table(path) for path in Task(run, "generate", 0).input_files("sample")])


@pytest.mark.parametrize(("shards", "batch"), [(1, 50), (1, 64), (7, 16), (7, 1000), (40, 3)])
def test_the_files_hold_the_samplers_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int, batch: int
) -> None:
    monkeypatch.setattr(jobs.sample, "BATCH", batch)
    monkeypatch.setattr(jobs.sample, "ROW_GROUP", 2)
    run = make_run(tmp_path, shards)
    sampler = Sampler(load_domain(run.domain_dir), run.config)
    rows = sampled(run)
    assert rows.schema.equals(arrow_schema(REQUEST_COLUMNS))
    assert rows.equals(sampler.requests(0, sampler.size))
    groups = pq.ParquetFile(read_receipt(run.stage_dir("sample"), 0).path(run.stage_dir("sample"))).metadata
    assert groups.num_row_groups == -(-groups.num_rows // (2 * batch))


def test_the_receipts_tell_the_generator_and_the_first_shard_has_the_strata(tmp_path: Path) -> None:
    run = make_run(tmp_path, 3)
    sampled(run)
    receipts = [read_receipt(run.stage_dir("sample"), index) for index in range(3)]
    sampler = Sampler(load_domain(run.domain_dir), run.config)
    assert sum(receipt.rows for receipt in receipts) == sampler.size
    wanted = {"strata": len(sampler.strata), "requests": sampler.size, "generator": GENERATOR}
    assert all(receipt.metrics == wanted for receipt in receipts)
    assert ["strata" in receipt.files for receipt in receipts] == [True, False, False]
    strata = read_json(receipts[0].path(run.stage_dir("sample"), "strata"))
    assert strata == [stratum.as_dict() for stratum in sampler.strata]


def test_a_shard_whose_attempt_died_is_made_again_with_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = sampled(make_run(tmp_path / "whole", 2))
    run = make_run(tmp_path / "killed", 2)
    requests = Sampler.requests

    def dies(self: Sampler, start: int, stop: int) -> pa.Table:
        if start > 0:
            raise KeyboardInterrupt
        return requests(self, start, stop)

    with monkeypatch.context() as patch:
        patch.setattr(jobs.sample, "BATCH", 20)
        patch.setattr(Sampler, "requests", dies)
        with pytest.raises(KeyboardInterrupt):
            jobs.sample.run(Task(run, "sample", 0))
    assert read_receipt(run.stage_dir("sample"), 0) is None
    assert sampled(run).equals(reference)
