"""The data set's README: a Hugging Face dataset card with counts, distribution and provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from routenator.dataset.export import FORMATS
from routenator.markdown import cell, line, table

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_SIZES_LARGE = ((100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"), (10_000_000_000, "1B<n<10B"))


def size_category(rows: int) -> str:
    """The Hugging Face hub's name for a number of rows."""
    return next((name for limit, name in (*_SIZES, *_SIZES_LARGE) if rows < limit), "10B<n<100B")


def dataset_card(
    summary: Mapping[str, Any],
    *,
    title: str,
    description: str,
    functions: Mapping[str, str],
    languages: list[str],
    provenance: Mapping[str, str],
    config: Mapping[str, Any],
) -> str:
    """Return the card as Markdown with YAML front matter. It has no time stamp, so the same data give the same card.

    Args:
        summary: content of merge.json.
        title: the data set's name.
        description: introductory text.
        functions: name -> description.
        languages: language codes.
        provenance: label -> text, e.g. the plan's fingerprint.
        config: the parts of the config that the data depend on.
    """
    import yaml

    counts = summary["counts"]
    front = {
        "pretty_name": title,
        "language": languages,
        "license": "other",
        "task_categories": ["text-generation"],
        "tags": ["function-calling", "tool-use", "synthetic"],
        "size_categories": [size_category(counts["final"])],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": split, "path": _path(split, summary["files"][split])}
                    for split in ("train", "validation")
                    if counts[split]
                ],
            }
        ],
    }
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {line(title)}: synthetic function-calling data",
        f"{description.strip()}\n\nEvery row is a query and the function call that it should produce"
        f"{_none_or_several(summary)}. No row was typed by a user: queries were generated from a knowledge graph, "
        "content metadata and population-level statistics (the method of RouteNator, arXiv 2505.10495).",
        "## Rows",
        table(
            ["", "rows"],
            [
                ["train", f"{counts['train']:,}"],
                ["validation", f"{counts['validation']:,}"],
                ["requested", f"{counts['requested']:,}"],
                ["generated", f"{counts['generated']:,}"],
                ["accepted by every check", f"{counts['accepted']:,}"],
                ["filled from another route or template of the same cell", f"{counts['backfilled']:,}"],
                ["missing from the requested size", f"{counts['missing']:,}"],
            ],
        ),
        f"Exact quotas met: {counts['strata_full']:,} of {counts['strata']:,} strata "
        "(function, category, route, template, length and "
        "language).",
        "Rows with the same function and arguments (ignoring case, punctuation and word order) are always in the same "
        "split, and so are queries with the same words in a different order.",
        "## Rejected rows",
        "Kept in `rejected*.parquet` (index, query, reason, detail). "
        f"{_repeats(counts):,} of {counts['accepted']:,} accepted rows were dropped because they repeat an earlier row "
        "or a golden query or are ambiguous.",
        table(
            ["reason", "rows"],
            [[cell(k), f"{v:,}"] for k, v in sorted(_reasons(counts).items(), key=lambda i: (-i[1], i[0]))],
        ),
        "## Functions",
        table(["function", "description"], [[f"`{cell(name)}`", cell(text)] for name, text in functions.items()]),
        "## Distribution",
        *_distribution(summary["distribution"]),
        "## Files",
        table(
            ["format", "content"],
            [
                ["parquet", "one row per example; `calls` is JSON text; `reply` is what is said without a call"],
                *_formats(summary["formats"]),
            ],
        ),
        "## Provenance",
        table(["", ""], [[cell(k), cell(v)] for k, v in provenance.items()]),
        table(["generator", "rows"], [[f"`{cell(k)}`", f"{v:,}"] for k, v in sorted(summary["generators"].items())]),
        f"```json\n{json.dumps(config, indent=1, ensure_ascii=False)}\n```",
        "## Licence",
        "This card grants no licence. Before publishing the data, check the terms of the domain's files (graph, "
        "metadata, templates) and of the generators listed under Provenance, some of which may restrict the use of "
        "their output; then set `license` above.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _none_or_several(summary: Mapping[str, Any]) -> str:
    shares = summary["distribution"]["dimensions"].get("calls")
    numbers = [row["name"] for row in shares["rows"] if row["final"]["rows"]] if shares else []
    found = [*(["a sentence where no function fits"] if "0" in numbers else []),
             *(["several calls"] if set(numbers) - {"0", "1"} else [])]  # fmt: skip
    return f" (or {', or '.join(found)})" if found else ""


def _path(split: str, files: list[str]) -> str:
    """A pattern for a split's examples that other formats' Parquet files, ``train.openai.parquet``, do not fit."""
    single = f"{split}.parquet"
    return single if single in files else f"{split}-*-of-?????.parquet"


def _repeats(counts: Mapping[str, Any]) -> int:
    return sum(rows for reason, rows in counts["dropped"].items() if reason != "surplus")


def _reasons(counts: Mapping[str, Any]) -> dict[str, int]:
    return {**counts["rejected"], **{k: v for k, v in counts["dropped"].items() if v}}


def _formats(names: list[str]) -> list[list[str]]:
    return [[name, FORMATS[name].description] for name in names]


def _distribution(distribution: Mapping[str, Any]) -> list[str]:
    parts = []
    for dimension, shares in distribution["dimensions"].items():
        rows = [
            [
                cell(row["name"]),
                f"{row['target']:.1%}",
                f"{row['accepted']['share']:.1%}",
                f"{row['final']['share']:.1%}",
            ]
            for row in shares["rows"]
        ]
        parts.append(table([dimension, "target", "accepted", "final"], rows))
        variation = shares["measures"]["final"]["total_variation"]
        if variation:
            parts.append(f"Total variation distance from the target: {variation['value']:.4f}. {variation['meaning']}")
    return parts
