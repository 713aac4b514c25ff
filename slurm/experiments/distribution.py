"""``kind: distribution``: measures how close each arm's data is to the population's statistics. Trains no model.

An arm's domain may lack population statistics (``derive: {flat: true}``), so every arm is compared with the statistics
of the base's domain, and its queries count in the length bucket of their actual words, not the one requested.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from routenator.dataset.distribution import measures, quartiles
from routenator.dataset.files import split_files
from routenator.domain.domain import Domain
from routenator.domain.loader import load_domain
from routenator.files import read_json
from routenator.sampling.shares import normalise
from routenator.sampling.strata import category_shares, length_language_shares
from slurm.experiments.collect import FORMAT
from slurm.experiments.config import Experiment, run_config
from slurm.experiments.planned import Entry
from slurm.experiments.table import markdown

OUTSIDE = "(no bucket)"
_SCALE = 10**6  # resolution of shares in a histogram


def population(domain: Domain) -> dict[str, Any]:
    """Return the population's shares by dimension, and query lengths by function, spread evenly within each bucket."""
    shares: dict[str, dict[str, float]] = {"function": {}, "content type": {}, "length": {}}
    words: dict[str, dict[str, float]] = {}
    for function, share in normalise(domain.statistics.functions).items():
        shares["function"][function] = share
        histogram: Counter[int] = Counter()
        for category, p in category_shares(domain, function).items():
            _add(shares["content type"], f"{function}/{category}", share * p)
            for (length, _), q in length_language_shares(domain, function, category).items():
                _add(shares["length"], f"{function}/{length}", share * p * q)
                low, high = domain.statistics.length_buckets[length]
                for count in range(low, high + 1):
                    histogram[count] += round(_SCALE * p * q / (high - low + 1))
        words[function] = {key: value for key, value in quartiles(histogram).items() if key != "rows"}
    for function in domain.statistics.keyword_position:
        wanted = normalise(
            {str(third): weight for third, weight in domain.statistics.keyword_position[function].items()}
        )
        shares[f"place of the content type, {function}"] = dict(wanted)
    return {"shares": shares, "words": words}


def _add(table: dict[str, float], name: str, share: float) -> None:
    table[name] = table.get(name, 0.0) + share


def counted(entries: Sequence[Entry], domain: Domain) -> dict[str, Any]:
    """Return rows of an arm's data sets by dimension, over all seeds, and histograms of query lengths by function."""
    import pyarrow.parquet as pq

    buckets = domain.statistics.length_buckets
    rows: dict[str, Counter[str]] = {"function": Counter(), "content type": Counter(), "length": Counter()}
    words: dict[str, Counter[int]] = {}
    for entry in entries:
        merge = entry.run.stage_dir("merge")
        for file in (path for split in ("train", "validation") for path in split_files(merge / "dataset", split)):
            for row in pq.read_table(file, columns=["function", "category", "words"]).to_pylist():
                function = row["function"]
                length = next((name for name, (low, high) in buckets.items() if low <= row["words"] <= high), OUTSIDE)
                rows["function"][function] += 1
                rows["content type"][f"{function}/{row['category']}"] += 1
                rows["length"][f"{function}/{length}"] += 1
                words.setdefault(function, Counter())[row["words"]] += 1
        for function, found in read_json(merge / "merge.json")["positions"].items():
            thirds = rows.setdefault(f"place of the content type, {function}", Counter())
            thirds.update({third["name"]: third["rows"] for third in found["rows"]})
    return {"rows": rows, "words": words}


def distributions_of(experiment: Experiment, entries: Sequence[Entry], missing: Sequence[str]) -> dict[str, Any]:
    """results.json."""
    base, _ = run_config(experiment, None, {})
    domain = load_domain(base.domain)
    target = population(domain)
    arms = {}
    for name in experiment.arms:
        own = [entry for entry in entries if entry.arm == name]
        if not own:
            continue
        found = counted(own, domain)
        arms[name] = {
            "title": experiment.title(name),
            "seeds": [entry.seed for entry in own],
            "rows": found["rows"]["function"].total(),
            "measures": {
                dimension: _measured(target["shares"][dimension], found["rows"][dimension])
                for dimension in target["shares"]
            },
            "shares": {
                dimension: {
                    label: count / max(1, found["rows"][dimension].total())
                    for label, count in found["rows"][dimension].items()
                }
                for dimension in target["shares"]
            },
            "words": {function: quartiles(histogram) for function, histogram in sorted(found["words"].items())},
        }
    return {
        "format": FORMAT,
        "name": experiment.name,
        "kind": experiment.kind,
        "question": experiment.question,
        "domain": Path(base.domain).name,
        "population": target,
        "arms": arms,
        "missing": list(missing),
    }


def _measured(target: Mapping[str, float], rows: Mapping[str, int]) -> dict[str, Any]:
    names = list(dict.fromkeys([*target, *rows]))
    whole = math.fsum(target.values())
    return measures([target.get(name, 0.0) / whole for name in names], [rows.get(name, 0) for name in names])


def render_distributions(results: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """table.md."""
    lines = [f"# {results['name']}", "", results["question"], ""]
    lines += [f"Domain {results['domain']}. Commit {provenance['commit']}, {provenance['date']}.", ""]
    if results["missing"]:
        lines += [f"**Not complete**: missing are {', '.join(results['missing'])}.", ""]
    lines += ["## Distance from the population's statistics", ""]
    rows = [
        [dimension, arm["title"], *_numbers(arm["measures"][dimension])]
        for dimension in results["population"]["shares"]
        for arm in results["arms"].values()
    ]
    lines += markdown(["of", "arm", "rows", "total variation", "chi-square", "degrees", "p", "KL, bits"], rows)
    lines += [
        "",
        "Total variation: the share of rows that would have to move to another cell. "
        "p: how often a random draw would be as far off.",
        "",
    ]
    lines += ["## Words of a query", ""]
    keys = ("min", "q1", "median", "q3", "max", "mean")
    lines += markdown(
        ["function", "data", *keys],
        [
            [function, title, *(f"{table[key]:.1f}" for key in keys)]
            for function, target in results["population"]["words"].items()
            for title, table in [
                ("population", target),
                *(
                    (arm["title"], arm["words"][function])
                    for arm in results["arms"].values()
                    if function in arm["words"]
                ),
            ]
        ],
    )
    lines += ["", "The population's are those of its length buckets, evenly within each."]
    return "\n".join(lines) + "\n"


def _numbers(found: Mapping[str, Any]) -> list[str]:
    chi, kl = found["chi_square"], found["kl"]
    if chi is None:
        return ["0", "-", "-", "-", "-", "-"]
    return [
        f"{found['rows']:,}",
        f"{found['total_variation']['value']:.1%}",
        "infinite" if chi["statistic"] is None else f"{chi['statistic']:.1f}",
        str(chi["degrees"]),
        f"{chi['p']:.2g}",
        "infinite" if kl["value"] is None else f"{kl['value']:.4f}",
    ]
