"""Turns counts into the tables of ``statistics.yaml``: shares only, with cells below a minimum count pooled."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from routenator.domain.domain import Domain
from routenator.domain.loader import with_statistics
from routenator.errors import InputError
from routenator.population.histograms import OTHER, Histograms

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_DIGITS = 4  # of a share


@dataclass
class Fitter:
    """Turns histograms into tables that do not contradict each other, however noisy the counts.

    Anything that two tables describe is computed once: word quantiles follow the length shares, and a function whose
    share comes from the sample alone keeps it only if ``with_statistics`` accepts its other tables. This costs no
    privacy, since it uses nothing but the histograms.

    Attributes:
        domain: provides everything that queries do not show, and the shares by which pools are divided.
        min_count: cells with fewer queries are pooled.
        pooled: table -> names of its cells below the minimum count.
        kept: tables taken from the domain, each with the reason.
    """

    domain: Domain
    histograms: Histograms
    min_count: int
    pooled: dict[str, list[str]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)

    def statistics(self) -> dict[str, Any]:
        present = self.domain.statistics
        functions = {key[0]: value for key, value in self.histograms.tables["functions"].items()}
        shares = self._pool("functions", functions, present.functions)
        if shares is None:
            raise InputError(
                "too few queries",
                key="--min-count",
                found=self.min_count,
                expected="a function with at least as many queries in the file",
            )
        tables: dict[str, dict[str, Any]] = {
            "categories": {},
            "lengths": {},
            "word_quantiles": {},
            "routes": {},
            "slots": {},
        }
        tables["keyword_position"] = {}
        for function in list(shares):
            self._function(function, tables)
            if present.functions.get(function, 0) <= 0 and not self._sound(function, shares[function], tables):
                shares[function] = 0.0
                for table in tables.values():
                    table.pop(function, None)
        result: dict[str, Any] = {"languages": self._languages(), "functions": shares}
        result["categories"] = tables["categories"]
        result["length_buckets"] = {name: list(bounds) for name, bounds in present.length_buckets.items()}
        for name in ("lengths", "word_quantiles", "routes", "slots", "keyword_position"):
            result[name] = tables[name]
        result["noise"] = self._noise()
        if present.calls != {1: 1.0}:
            result |= {"calls": self._calls(), "no_call": dict(present.no_call)}
        if self.domain.joint is not None:
            self.kept.append("joint: omitted; the tables below are the target")
        self.kept.append("routes: queries do not show which route would have written them")
        self.kept.append("noise.typo: typos cannot be told from rare words")
        return {name: value for name, value in result.items() if value}

    def _function(self, function: str, tables: dict[str, dict[str, Any]]) -> None:
        """Fill in all tables of shares conditional on the function."""
        present = self.domain.statistics

        def put(table: str, value: Any, own: Mapping[str, Any]) -> None:
            if value is None and function in own:
                value = own[function]
                if present.functions.get(function, 0) > 0:
                    self.kept.append(f"{table}.{function}: no cell has {self.min_count} queries")
            if value:
                tables[table][function] = dict(value)

        if self.domain.rules[function].category is not None:
            own = present.categories.get(function, {})
            put(
                "categories",
                self._pool(f"categories.{function}", self.histograms.of("categories", function), own),
                present.categories,
            )
        words = self.histograms.of("words", function)
        lengths = self._lengths(function, words)
        put("lengths", lengths, present.lengths)
        if lengths is not None and f"lengths.{function}" not in self.pooled:
            quantiles = self._quantiles(words, lengths)
            if quantiles:
                tables["word_quantiles"][function] = quantiles
        put("slots", self._slots(function), present.slots)
        if function in present.keyword_position:
            own = {str(third): weight for third, weight in present.keyword_position[function].items()}
            thirds = self._pool(f"keyword_position.{function}", self.histograms.of("positions", function), own)
            put("keyword_position", thirds, present.keyword_position)
        routes = present.routes.get(function)
        if routes:
            tables["routes"][function] = dict(routes)
        elif any(t.route == "heuristic" and function in t.functions for t in self.domain.templates.values()):
            tables["routes"][function] = {"heuristic": 1.0}

    def _sound(self, function: str, share: float, tables: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether a function without a share in the domain has valid tables, so that it can get one.

        It may lack a table that the sample does not provide, and the domain's own tables for it were never checked.
        """
        if share <= 0:
            return False
        alone = {name: {function: table[function]} for name, table in tables.items() if function in table}
        try:
            with_statistics(
                self.domain,
                {
                    "functions": {function: 1.0},
                    "length_buckets": self.domain.statistics.length_buckets,
                    "routes": {},
                    **alone,
                },
            )
        except InputError as error:
            self.kept.append(f"functions.{function}: kept at 0: {' '.join(str(error).split())}")
            return False
        return True

    def _pool(self, table: str, counts: Mapping[str, int], own: Mapping[str, float]) -> dict[str, float] | None:
        """Compute the shares of a table's cells.

        Cells below the minimum count are pooled, and the pool's total is divided in proportion to the domain's own
        shares. If even the total is below the minimum, the pool keeps the domain's own share, but no more than the
        minimum count would give it. Cells that neither the sample nor the domain has are 0.

        Returns:
            Shares by name, including all of the domain's names; None if no cell reaches the minimum count.
        """
        names = [name for name in {**own, **counts} if counts.get(name, 0) > 0 or name in own]
        small = [
            name
            for name in names
            if counts.get(name, 0) < self.min_count and (counts.get(name, 0) > 0 or own.get(name, 0) > 0)
        ]
        large = {name: counts[name] for name in names if counts.get(name, 0) >= self.min_count}
        if not large:
            return None
        total = sum(counts.get(name, 0) for name in small)
        prior = math.fsum(own.values())
        weights = {name: own.get(name, 0.0) / prior if prior else 0.0 for name in small}
        pool = float(total)
        if total < self.min_count:
            share = min(math.fsum(weights.values()), 0.99)
            measured = sum(large.values())
            pool = min(float(self.min_count), measured * share / (1.0 - share))
            small = [name for name in small if weights[name] > 0]
        elif any(weight <= 0 for weight in weights.values()):
            weights = dict.fromkeys(small, 1.0)
        if small:
            self.pooled[table] = sorted(small)
        scale = math.fsum(weights[name] for name in small)
        table_of = {name: pool * weights[name] / scale for name in small} if small else {}
        everything = {**dict.fromkeys(names, 0.0), **large, **table_of}
        whole = math.fsum(everything.values())
        return {name: round(value / whole, _DIGITS + 2) for name, value in everything.items()}

    def _calls(self) -> dict[int, float]:
        present = self.domain.statistics.calls
        counts = {str(key[0]): value for key, value in self.histograms.tables.get("calls", {}).items()}
        shares = self._pool("calls", counts, {str(number): share for number, share in present.items()})
        if shares is None:
            self.kept.append(f"calls: no number of calls has {self.min_count} queries")
            return dict(present)
        return {int(number): share for number, share in shares.items()}

    def _lengths(self, function: str, words: Mapping[int, int]) -> dict[str, float] | None:
        buckets = self.domain.statistics.length_buckets
        counts = {
            name: sum(n for word, n in words.items() if low <= word <= high) for name, (low, high) in buckets.items()
        }
        return self._pool(f"lengths.{function}", counts, self.domain.statistics.lengths.get(function, {}))

    def _quantiles(self, words: Mapping[int, int], lengths: Mapping[str, float]) -> dict[float, int]:
        """Word-count quantiles, where enough queries lie on either side.

        The bucket is determined first, then the number of words within it, so that noise within a bucket cannot
        contradict the buckets' shares. For the same reason buckets without a share are ignored: their few queries (or
        the noise that replaced them) are not part of the shares either.

        Args:
            words: number of words -> queries.
            lengths: the length shares for the file, all measured, none pooled.
        """
        bounds = self.domain.statistics.length_buckets
        buckets = sorted(bounds[name] for name, share in lengths.items() if share > 0)
        inside = [{word: words[word] for word in sorted(words) if low <= word <= high} for low, high in buckets]
        total, below = sum(sum(cells.values()) for cells in inside), 0
        found: dict[float, int] = {}
        for cells in inside:
            reached = below + sum(cells.values())
            for share in QUANTILES:
                if below < share * total <= reached and min(share, 1 - share) * total >= self.min_count:
                    sums = zip(cells, itertools.accumulate(cells.values()), strict=True)
                    found[share] = next(word for word, upto in sums if below + upto >= share * total)
            below = reached
        return found

    def _slots(self, function: str) -> dict[str, float] | None:
        """P(optional slot is present), among calls whose other slots admit it."""
        table = self.histograms.of("slots", function)
        own = self.domain.statistics.slots.get(function, {})
        shares: dict[str, float] = {}
        unmeasured = []
        for slot in dict.fromkeys(slot for slot, _ in table):
            share = self._share(table[slot, True], table[slot, False], own.get(slot, 1.0))
            if share is None:
                unmeasured.append(slot)
            else:
                shares[slot] = share[0]
                if not share[1]:
                    self.pooled.setdefault(f"slots.{function}", []).append(slot)
        if not shares:
            return None
        if unmeasured:
            self.kept.append(
                f"slots.{function}: {', '.join(unmeasured)}: fewer than {self.min_count} calls that could have them"
            )
        # The shares of fields are not measured either.
        return {**{slot: share for slot, share in own.items() if slot not in shares}, **shares}

    def _share(self, yes: int, no: int, own: float) -> tuple[float, bool] | None:
        """A share, and whether it was measured.

        If one side is below the minimum count, the share is the domain's own, limited to what that count allows.
        """
        total = yes + no
        if total < self.min_count or max(yes, no) < self.min_count:
            return None
        limit = self.min_count / total
        if yes < self.min_count:
            return round(min(own, limit), _DIGITS), False
        if no < self.min_count:
            return round(max(own, 1.0 - limit), _DIGITS), False
        return round(yes / total, _DIGITS), True

    def _languages(self) -> dict[str, float]:
        own = dict(self.domain.statistics.languages)
        counts = {key[0]: value for key, value in self.histograms.tables["languages"].items() if key[0] != OTHER}
        shares = self._pool("languages", counts, own)
        if shares is None:
            self.kept.append(f"languages: no cell has {self.min_count} queries")
        return own if shares is None else shares

    def _noise(self) -> dict[str, float]:
        own = self.domain.statistics.noise
        rates = {"lowercase": own.lowercase, "typo": own.typo, "no_punctuation": own.no_punctuation}
        for name in ("lowercase", "no_punctuation"):
            table = self.histograms.tables[name]
            share = self._share(table[True,], table[False,], rates[name])
            if share is None:
                self.kept.append(f"noise.{name}: no cell has {self.min_count} queries")
            else:
                rates[name] = share[0]
                if not share[1]:
                    self.pooled.setdefault("noise", []).append(name)
        return rates
