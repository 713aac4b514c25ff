"""Prints measured acceptance, and the rows that a run lacks of its quotas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from routenator.report.table import plain_table
from routenator.sampling.acceptance import SHOWN_CONFIDENCE, Acceptance
from routenator.sampling.needs import Need
from slurm.planning.topup import GivenUp, stratum_name

if TYPE_CHECKING:
    from rich.console import Console

_SHORT_SHOWN = 10


def print_acceptance(measured: Acceptance, console: Console, worst: int = 10) -> None:
    """Print the acceptance of each route and of the worst strata."""
    table = plain_table("Acceptance by route", "route", "requested", "accepted", "kept", "share")
    for row in measured.by("route"):
        table.add_row(
            row["route"], *(f"{row[name]:,}" for name in ("requested", "accepted", "kept")), f"{row['share']:.1%}"
        )
    console.print(table)
    strata = sorted(measured.as_dict()["strata"], key=lambda row: row["share"])[:worst]
    if not strata:
        return
    title = (
        f"The {len(strata)} worst strata (shares shrunk towards those of similar strata, "
        f"with lower bounds at {SHOWN_CONFIDENCE:.0%} confidence)"
    )
    table = plain_table(
        title,
        "function / category / template / length / language",
        "requested",
        "accepted",
        "kept",
        "share",
        "at least",
    )
    for row in strata:
        name = " / ".join(row[key] for key in ("function", "category", "template", "length", "language"))
        counts = (f"{row[key]:,}" for key in ("requested", "accepted", "kept"))
        table.add_row(name, *counts, f"{row['share']:.1%}", f"{row['low']:.1%}")
    console.print(table)


def print_need(need: Need, lost: Sequence[GivenUp], console: Console) -> None:
    """Print how many rows are missing and will be requested, and the strata given up, with reasons."""
    rows, size = sum(need.wanted), sum(row.quota for row in need.strata)
    if not rows:
        console.print("Every quota is met.", highlight=False)
        return
    filled = [number for number in need.short if need.asked[number]]
    text = f"{rows:,} of {size:,} rows are missing, in {len(need.short):,} of {len(need.strata):,} strata"
    if filled:
        text += f"; {sum(need.asked):,} requests would fill {len(filled):,} of these"
    console.print(text + ".", highlight=False, soft_wrap=True)
    if need.limited:
        text = (
            f"{need.limited:,} of them reached the limit of requests (generate.oversample_limit) "
            "and may need more rounds."
        )
        console.print(text, highlight=False, soft_wrap=True)
    for number in sorted(filled, key=lambda number: -need.wanted[number])[:_SHORT_SHOWN]:
        row = need.strata[number]
        text = (
            f"  {stratum_name(row)}: {need.wanted[number]:,} of {row.quota:,} missing, {need.asked[number]:,} requests"
        )
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    if len(filled) > _SHORT_SHOWN:
        console.print(f"  and {len(filled) - _SHORT_SHOWN:,} more", highlight=False)
    for stratum in lost:
        text = (
            f"given up: {stratum.name}: {stratum.lacks:,} missing, "
            f"and none of the last {stratum.requested:,} requests survived"
        )
        console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in stratum.reasons)
        console.print(f"  reasons: {reasons}", markup=False, highlight=False, soft_wrap=True)
        for example in stratum.examples:
            text = f"  example: {example['query']!r}: {example['reason']}" + (
                f" ({example['detail']})" if example["detail"] else ""
            )
            console.print(text, markup=False, highlight=False, soft_wrap=True)


def need_as_dict(need: Need, lost: Sequence[GivenUp]) -> dict[str, Any]:
    """Return the need as JSON-compatible values."""
    return {
        "rows": sum(need.wanted),
        "requests": sum(need.asked),
        "strata": [
            {**need.strata[number].as_dict(), "lacks": need.wanted[number], "asks": need.asked[number]}
            for number in need.short
        ],
        "given_up": [
            {
                "stratum": one.name,
                "lacks": one.lacks,
                "requested": one.requested,
                "reasons": dict(one.reasons),
                "examples": one.examples,
            }
            for one in lost
        ],
    }
