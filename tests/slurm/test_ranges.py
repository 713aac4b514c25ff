from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.submission.submissions import compact, expand


@pytest.mark.parametrize(
    ("indices", "expression"),
    [
        ([], ""),
        ([4], "4"),
        ([0, 1, 2, 7], "0-2,7"),
        ([3, 1, 2, 2], "1-3"),
        ([0, 2, 4], "0,2,4"),
        ([9, 10, 12], "9-10,12"),
    ],
)
def test_compact(indices: list[int], expression: str) -> None:
    assert compact(indices) == expression


def test_expand_understands_what_slurm_prints() -> None:
    assert expand("1,3-5%2") == [1, 3, 4, 5]
    assert expand("0-6:3") == [0, 3, 6]
    with pytest.raises(ValueError):
        expand("0-2,...")


@given(st.sets(st.integers(0, 20_000)))
def test_expand_is_the_inverse_of_compact(indices: set[int]) -> None:
    assert expand(compact(indices)) == sorted(indices)
