"""The target distribution as one table: a weight for each cell of function, category, length and language."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Joint:
    """Cell weights: function -> category -> (length, language) -> weight above 0, in file order."""

    weights: dict[str, dict[str, dict[tuple[str, str], float]]] = field(default_factory=dict)

    def functions(self) -> dict[str, float]:
        """P(function)."""
        return _shares(
            {f: math.fsum(w for cells in table.values() for w in cells.values()) for f, table in self.weights.items()}
        )

    def categories(self, function: str) -> dict[str, float]:
        """P(category | function), including ``none`` for calls without a category."""
        return _shares({category: math.fsum(cells.values()) for category, cells in self.weights[function].items()})

    def cells(self, function: str, category: str) -> dict[tuple[str, str], float]:
        """P(length, language | function, category)."""
        return _shares(self.weights[function][category])

    def lengths(self, function: str) -> dict[str, float]:
        """P(length | function)."""
        return self._margin(function, 0)

    def languages(self, function: str) -> dict[str, float]:
        """P(language | function)."""
        return self._margin(function, 1)

    def _margin(self, function: str, place: int) -> dict[str, float]:
        table: dict[str, float] = {}
        for cells in self.weights[function].values():
            for key, weight in cells.items():
                table[key[place]] = table.get(key[place], 0.0) + weight
        return _shares(table)


def _shares(weights: Mapping[Any, float]) -> dict[Any, float]:
    total = math.fsum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
