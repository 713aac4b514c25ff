"""``kind: distribution``: measures how close each arm's data is to the population's statistics. Trains no model.

With ``fit``, the arms have statistics of some real queries, and their data are compared with others (queries.py).

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
from slurm.experiments.queries import FEW, PLACE, Counts, bucket_of, count_queries, pooled, same_source
from slurm.experiments.table import markdown
from slurm.planning.planner import golden_source

QUERIES = "queries"
FITTED = "the queries fitted to"
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
        shares[PLACE + function] = dict(wanted)
    return {"title": "population", "shares": shares, "words": words}


def _add(table: dict[str, float], name: str, share: float) -> None:
    table[name] = table.get(name, 0.0) + share


def counted(entries: Sequence[Entry], domain: Domain) -> Counts:
    """Return rows of an arm's data sets by dimension, over all seeds, and histograms of query lengths by function."""
    import pyarrow.parquet as pq

    found = Counts({"function": Counter(), "content type": Counter(), "length": Counter()}, {})
    for entry in entries:
        merge = entry.run.stage_dir("merge")
        for file in (path for split in ("train", "validation") for path in split_files(merge / "dataset", split)):
            for row in pq.read_table(file, columns=["function", "category", "words"]).to_pylist():
                function = row["function"]
                found.rows["function"][function] += 1
                found.rows["content type"][f"{function}/{row['category']}"] += 1
                found.rows["length"][f"{function}/{bucket_of(domain, row['words'])}"] += 1
                found.words.setdefault(function, Counter())[row["words"]] += 1
        for function, said in read_json(merge / "merge.json")["positions"].items():
            thirds = found.rows.setdefault(PLACE + function, Counter())
            thirds.update({third["name"]: third["rows"] for third in said["rows"]})
    return found


def distributions_of(experiment: Experiment, entries: Sequence[Entry], missing: Sequence[str]) -> dict[str, Any]:
    """results.json."""
    base, _ = run_config(experiment, None, {} if experiment.golden is None else {"golden": experiment.golden})
    domain = load_domain(base.domain)
    real = None if experiment.fit is None else count_queries(Path(base.domain), golden_source(base))
    target = population(domain) if real is None else _queries(real)
    arms = {}
    if experiment.fit is not None:
        arms["(fitted)"] = _arm(FITTED, [], count_queries(Path(base.domain), Path(experiment.fit)), target, real)
    for name in experiment.arms:
        own = [entry for entry in entries if entry.arm == name]
        if own:
            seeds = [entry.seed for entry in own]
            arms[name] = _arm(experiment.title(name), seeds, counted(own, domain), target, real)
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


def _arm(
    title: str, seeds: Sequence[int], found: Counts, target: Mapping[str, Any], real: Counts | None
) -> dict[str, Any]:
    rows = {dimension: found.rows.get(dimension, Counter()) for dimension in target["shares"]}
    if real is not None:
        rows = {dimension: pooled(table, real.rows[dimension]) for dimension, table in rows.items()}
    compared = {dimension: _measured(target["shares"][dimension], table) for dimension, table in rows.items()}
    for dimension, one in compared.items() if real is not None else ():
        if one["chi_square"] is not None:
            own = real.rows[dimension] if real is not None else {}
            one["chi_square"] = same_source(pooled(own, own), rows[dimension])
    return {
        "title": title,
        "seeds": list(seeds),
        "rows": found.rows["function"].total(),
        "measures": compared,
        "shares": {
            dimension: {label: count / max(1, table.total()) for label, count in table.items()}
            for dimension, table in rows.items()
        },
        "words": {function: quartiles(histogram) for function, histogram in sorted(found.words.items())},
    }


def _queries(real: Counts) -> dict[str, Any]:
    """What ``population`` returns, of real queries."""
    shares = {}
    for dimension, own in real.rows.items():
        table = pooled(own, own)
        shares[dimension] = {name: count / table.total() for name, count in table.items()}
    words = {function: quartiles(histogram) for function, histogram in sorted(real.words.items())}
    return {"title": QUERIES, "queries": real.rows["function"].total(), "shares": shares, "words": words}


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
    target = results["population"]
    of_queries = target["title"] == QUERIES
    if of_queries:
        lines += [f"## Distance from {target['queries']:,} queries that nothing was fitted to", ""]
    else:
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
        + (
            "p: how often two samples of one population would differ as much. "
            f"Cells with fewer than {FEW} of the queries are pooled."
            if of_queries
            else "p: how often a random draw would be as far off."
        ),
        "",
    ]
    lines += ["## Words of a query", ""]
    keys = ("min", "q1", "median", "q3", "max", "mean")
    lines += markdown(
        ["function", "data", *keys],
        [
            [function, title, *(f"{table[key]:.1f}" for key in keys)]
            for function, words in target["words"].items()
            for title, table in [
                (target["title"], words),
                *(
                    (arm["title"], arm["words"][function])
                    for arm in results["arms"].values()
                    if function in arm["words"]
                ),
            ]
        ],
    )
    if not of_queries:
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
