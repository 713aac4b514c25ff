"""Differential privacy of ``domain fit``: what a query adds, the noise, and what the file says about it."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import pytest

from routenator.domain.domain import Domain
from routenator.errors import InputError
from routenator.population.fit import fit, render
from routenator.population.histograms import Histograms, cells, count, noisy
from routenator.population.queries import Observer
from routenator.wording.labeller import Labeller
from tests.routenator.population import SAMPLE, loaded, write


def test_a_query_adds_at_most_one_to_each_histogram(tiny: Domain, tmp_path: Path) -> None:
    for row in SAMPLE:
        table = count(tiny, Observer(tiny, Labeller(tiny)).count(write(tmp_path, [row]))).tables
        for name, histogram in table.items():
            if name != "slots":
                assert sum(histogram.values()) <= 1
        pairs = Counter(key[:2] for key, value in table.get("slots", Counter()).items() for _ in range(value))
        assert all(times == 1 for times in pairs.values()) and len({function for function, _ in pairs}) <= 1


def test_the_cells_do_not_depend_on_the_data(tiny: Domain, tmp_path: Path) -> None:
    fixed = cells(tiny, labelled=True)
    for rows in (SAMPLE, SAMPLE[:1], SAMPLE[-1:]):
        table = count(tiny, Observer(tiny, Labeller(tiny)).count(write(tmp_path, rows))).tables
        assert {name: set(histogram) for name, histogram in table.items()} == {
            name: set(keys) for name, keys in fixed.items()
        }


def test_the_parts_of_epsilon_add_up_and_set_the_noise_scale(tiny: Domain) -> None:
    """Discrete Laplace noise of parameter e has the variance 2 a / (1 - a)**2 with a = exp(-e)."""
    exact = Histograms({name: Counter(dict.fromkeys(keys, 1000)) for name, keys in cells(tiny, labelled=True).items()})
    draws = [noisy(tiny, exact, 4.0) for _ in range(200)]  # so that the tolerance is six standard deviations
    assert sum(draws[0].budget.values()) == pytest.approx(4.0) and set(draws[0].budget) == set(exact.tables)
    for name, divisor in (("words", 1), ("slots", 3)):  # book has three optional slots
        errors = [value - 1000 for draw in draws for value in draw.tables[name].values()]
        a = math.exp(-draws[0].budget[name] / divisor)
        assert sum(e * e for e in errors) / len(errors) == pytest.approx(2 * a / (1 - a) ** 2, rel=0.4)


@pytest.mark.parametrize("size", [40, 400])
def test_noisy_statistics_are_always_accepted(tiny: Domain, tmp_path: Path, size: int) -> None:
    draw = random.Random(size)
    rows = [draw.choice(SAMPLE) for _ in range(size)]
    file = write(tmp_path, rows)
    for epsilon in (0.3, 1.0, 5.0, 50.0):
        for _ in range(5):
            try:
                found = fit(tiny, file, min_count=5, epsilon=epsilon)
            except InputError as error:
                assert "too few queries" in str(error)  # the noise of a small budget outweighs so small a sample
    assert found.statistics["functions"]["search"] == pytest.approx(
        sum(r["call"]["name"] == "search" for r in rows) / size, abs=0.05
    )


def test_with_noise_the_file_contains_no_exact_count(tiny: Domain, tmp_path: Path) -> None:
    found = fit(tiny, write(tmp_path, SAMPLE), epsilon=2.0, min_count=5)
    text = render(found, tiny, min_count=5, epsilon=2.0)
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert "epsilon 2" in text and not any("102" in line for line in comments)
    assert "functions 0.1905, categories 0.381" in text  # 1 and 2 of 10.5 parts
    loaded(tmp_path, text)
