"""The benchmark of ``domain fit`` and the language check runs, at a size too small for its figures to mean anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import population
from routenator.domain.loader import load_domain
from routenator.population.queries import Observer
from routenator.wording.labeller import Labeller
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("name", "epsilon", "seeds"),
    [("creative", 0.5, [11]), ("creative", 1.0, [169, 258, 432]), ("assistant", 0.2, [0, 1]), ("assistant", 1.0, [0])],
)
def test_noise_that_once_made_a_fit_fail_does_so_no_more(
    name: str, epsilon: float, seeds: list[int], tmp_path: Path
) -> None:
    """Cases: quantiles in a bucket that noise left without a share; shares for categories that no walk ends in."""
    domain = load_domain(population.DOMAINS / name)
    file = population.write_drafts(tmp_path / "drafts.jsonl", population.drafts(domain, 300))
    seen = Observer(domain, Labeller(domain)).count(file)
    assert population.failed_seeds(domain, seen, epsilon, seeds) == []


@pytest.mark.slow
def test_it_runs_and_its_figures_are_sane(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, "benchmarks/population.py", "--rows", "300", "--domain", "creative", "--json", str(out)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (
        "Refused by the language check" in printed and "Functions guessed" in printed and "Greatest distance" in printed
    )
    result = json.loads(out.read_text())
    language = {row["set"]: row for row in result["language"]}
    assert language["creative: golden queries"]["check"] == 0
    assert language["other languages"]["check"] > language["other languages"]["function words"]
    assert result["functions"][0]["right"] > 0.9 * result["functions"][0]["sure"]
    assert [row["epsilon"] for row in result["fit"]] == ["exact", 0.5, 1.0, 3.0] and result["fit"][0][
        "functions"
    ] < 0.01
