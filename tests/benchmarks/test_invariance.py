"""The benchmark runs on a small size, and notices rows that differ."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import invariance
from routenator.sampling.sampler import Sampler
from tests.conftest import TINY

SMALL = ["--rows", "900", "--shards", "1", "7", "50", "--domain", str(TINY)]


def test_shards_have_equal_digests(tmp_path):
    report = invariance.main([*SMALL, "--work", str(tmp_path)])
    assert report["equal"] and len(report["results"]) == 6
    assert len({result["digest"] for result in report["results"]}) == 2, "coverage walks other paths"
    assert not list(tmp_path.iterdir())


def test_a_row_that_depends_on_its_shard_is_noticed(monkeypatch):
    slice_of = Sampler.slice

    def shifted(self: Sampler, shard: int, shards: int) -> tuple[int, int]:
        self._category = np.roll(self._category, 1) if shard == 5 else self._category
        return slice_of(self, shard, shards)

    monkeypatch.setattr(Sampler, "slice", shifted)
    with pytest.raises(SystemExit):
        invariance.main([*SMALL, "--traversal", "weighted"])
