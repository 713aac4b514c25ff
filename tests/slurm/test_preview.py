"""Previews of rows without a run, for one route or template."""

from __future__ import annotations

import pytest

from routenator.errors import InputError
from slurm.preflight.preview import preview
from tests.conftest import make_config

HEURISTIC = make_config(generate={"routes": {"heuristic": 1}}, dataset={"size": 5000})


def test_the_first_rows_of_a_template_are_shown() -> None:
    every = preview(HEURISTIC, 300)
    (some,) = {row["template"] for row in every if row["function"] == "book"}
    wanted = preview(HEURISTIC, 10, template=some)
    assert wanted == [row for row in every if row["template"] == some][:10]
    assert (
        all(row["accepted"] or row["reason"] for row in wanted)
        and preview(HEURISTIC, 3, route="heuristic") == every[:3]
    )


def test_a_route_or_template_without_rows_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        preview(HEURISTIC, 3, route="text")
    assert caught.value.key == "--route" and "heuristic" in str(caught.value)
    with pytest.raises(InputError) as caught:
        preview(HEURISTIC, 3, template="heuristic/book_plan")
    assert caught.value.nearest == "heuristic/book_plain"
