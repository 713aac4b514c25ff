"""A training's losses as a line of blocks."""

from __future__ import annotations

import pytest

from slurm.watching.losses import loss_line


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([3.0], "loss 3 ▁ 3 at step 1"),
        ([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], "loss 8 █▇▆▅▄▃▂▁ 1 at step 8"),
        ([1.0, 2.0], "loss 1 ▁█ 2 at step 2"),
    ],
)
def test_losses_are_drawn_between_lowest_and_highest(losses: list[float], expected: str) -> None:
    assert loss_line(list(enumerate(losses, 1)), 80) == expected


def test_a_long_training_is_drawn_by_means_that_fit() -> None:
    line = loss_line([(step, 5 - step / 2500) for step in range(1, 10_001)], 60)
    first, drawn, rest = line.removeprefix("loss ").split(" ", 2)
    assert len(line) <= 60 and len(drawn) >= 30 and (first, rest) == ("5", "1.06 at step 10,000")
    assert drawn == "".join(sorted(drawn, reverse=True)) and set(drawn) == set("▁▂▃▄▅▆▇█")
