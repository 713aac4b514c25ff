"""The README of an exported model: what it does, how to use it, its data, its scores and its limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from routenator.markdown import cell, line, table
from routenator.report.summary import METRICS
from routenator.training.adapter import CARD, AdapterCard


@dataclass(frozen=True)
class Origin:
    """What is known of how a model was made.

    Attributes:
        title: of the domain.
        description: of the domain.
        merge: counts, distribution and generators as in merge.json; None if unknown.
        scores: scores.json's entries of the model, the baselines, and what it was scored on; None if unknown.
        provenance: label -> text, without paths.
        max_new_tokens: tokens that a reply may have, in the card's example.
    """

    title: str
    description: str = ""
    merge: Mapping[str, Any] | None = None
    scores: Mapping[str, Any] | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    max_new_tokens: int = 128


def model_card(card: AdapterCard, origin: Origin, base: str | None, *, kind: str, usage: str) -> str:
    """Return the card as Markdown with the metadata that model hubs read.

    Args:
        card: the adapter's card.
        origin: what is known of its making.
        base: hub id of the base model; None if the export includes it.
        kind: what this is, such as ``PEFT adapter``.
        usage: Markdown that shows how it is loaded.
    """
    front = [f"base_model: {json.dumps(base)}"] if base else []
    front += ["library_name: peft"] if "adapter" in kind else []
    front += ["license: other", "pipeline_tag: text-generation", "tags: [function-calling, tool-use, routenator]"]
    parts = [
        "---\n" + "\n".join(front) + "\n---",
        f"# {line(origin.title)}: requests into calls",
        line(origin.description),
        f"A {kind}, trained by {card.method} for {card.steps:,} steps on prompts of the style `{card.prompt}`. "
        f"It turns a request into calls of the functions below; `{CARD}` has their schemas. "
        + (
            "The base model is in the folder `base`, because only these very weights were trained on."
            if not base and "adapter" in kind
            else ""
        ),
        "## Use",
        usage,
        "## Functions",
        "\n".join(
            f"- `{tool['function']['name']}`: {line(tool['function'].get('description') or '')}" for tool in card.tools
        ),
        "## Data",
        _data(origin.merge),
        "## Scores",
        _scores(origin.scores),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(card, origin)),
        *(
            ["## Provenance", table(["", ""], [[cell(k), cell(v)] for k, v in origin.provenance.items()])]
            if origin.provenance
            else []
        ),
        "## Licence",
        "This card grants no licence. Before publishing the model, check the terms of its base model, of the domain's "
        "files and of the models that wrote training queries; then set `license` above.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _data(merge: Mapping[str, Any] | None) -> str:
    if merge is None:
        return "Unknown: the export was made from the adapter's folder alone, without its run."
    counts = merge["counts"]
    rows = [["train", f"{counts['train']:,}"], ["validation", f"{counts['validation']:,}"]]
    rows += [[f"written by {cell(name)}", f"{count:,}"] for name, count in sorted(merge["generators"].items())]
    for dimension in ("function", "language", "calls"):
        shares = merge["distribution"]["dimensions"].get(dimension)
        for row in shares["rows"] if shares else ():
            rows.append([f"{dimension} `{cell(row['name'])}`", f"{row['final']['rows']:,}"])
    return (
        "Synthetic queries with the calls that they should produce; no row was typed by a user.\n\n"
        + table(["", "rows"], rows)
    )  # fmt: skip


def _scores(scores: Mapping[str, Any] | None) -> str:
    after = (scores or {}).get("after")
    if scores is None or after is None:
        return "None: this model has not been evaluated."
    sides = {
        "model": after,
        "before training": scores.get("before"),
        "replies restricted to the API": scores.get("guided"),
    }
    sides |= {f"baseline {name}": side for name, side in (scores.get("baselines") or {}).items()}
    known = {name: side for name, side in sides.items() if side}
    rows = [
        [label, *(_interval(side.get(key)) for side in known.values())]
        for key, label in METRICS.items()
        if _interval(after.get(key))
    ]
    return f"On {after['n']:,} queries ({scores['queries']}), with 95% intervals.\n\n" + table(["", *known], rows)


def _interval(value: Mapping[str, float | None] | None) -> str:
    """A score with its interval; empty without a score: an API without content types has no accuracy of them."""
    if not value or value["value"] is None:
        return ""
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _limits(card: AdapterCard, origin: Origin) -> list[str]:
    found = [
        "It knows the functions above and no others; given other tools it will still call these."
        if card.prompt == "compact"
        else "It was trained on the functions above; with other tools it has not been tested.",
        "It answers single requests. Conversations of several turns were not trained.",
    ]
    if card.prompt == "compact":
        found.append("Its prompt is the request alone: system messages and tools in a request are ignored.")
    after = (origin.scores or {}).get("after")
    if after:
        found.append(
            f"{1 - after['exact_match']['value']:.0%} of the queries that it was scored on got a reply that is not "
            "exactly right. Check calls before acting on them."
        )
        kinds = sorted(((name, count) for name, count in (after.get("errors") or {}).items()
                        if isinstance(count, int | float) and count), key=lambda item: -item[1])[:3]  # fmt: skip
        if kinds:
            found.append(
                "Most frequent errors: " + ", ".join(f"{line(name)} ({count:,})" for name, count in kinds) + "."
            )
    shares = (origin.merge or {}).get("distribution", {}).get("dimensions", {}).get("language")
    if shares:
        found.append("Languages of its training data: " + ", ".join(line(row["name"]) for row in shares["rows"]) + ".")
    return found
