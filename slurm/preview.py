"""A look at rows without a run: what a model is asked, what it answers, and what the checks say."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from routenator.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from routenator.config import RunConfig

_LOOKED = 64  # requests looked through for one that is shown, where only one route is wanted


def preview(config: RunConfig, count: int, route: str | None = None) -> list[dict[str, Any]]:
    """The first requests of a run, generated and judged; nothing is written.

    Args:
        config: of the run.
        count: rows.
        route: only rows of this one.

    Returns:
        For each row function, category, route, template, length, messages (as the model gets them; none on the heuristic route), grammar,
        raw, query, arguments, accepted, reason, detail.

    Raises:
        InputError: the run has no rows of this route.
    """
    from routenator.domain.load import load_domain
    from routenator.generation.generator import Generator
    from routenator.models import cache_folder
    from routenator.sampling.sampler import Sampler
    from routenator.wording.composer import Composer

    domain = load_domain(config.domain)
    sampler = Sampler(domain, config)
    routes = {stratum.route for stratum in sampler.strata}
    if route is not None and route not in routes:
        raise InputError("this run has no rows of this route", key="--route", found=route, valid=routes)
    looked = min(sampler.size, count if route is None else count * _LOOKED)
    details = Composer(domain, config, sampler.strata).details(sampler.requests(0, looked)).to_pylist()
    wanted = [row for row in details if route is None or row["route"] == route][:count]
    generator = Generator(domain, config, cache_folder(config.cache))
    # Rows of one engine are asked together, as the generate stage does.
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in wanted:
        engine = generator.engine_config(row["route"])
        groups[engine.model_dump_json() if engine else ""].append(row)
    shown = {}
    for rows in groups.values():
        for row, seen in zip(rows, generator.preview(rows), strict=True):
            keys = ("function", "category", "route", "template", "length")
            said = ("raw", "query", "accepted", "reason", "detail")
            shown[row["index"]] = {
                **{key: row[key] for key in keys},
                "messages": seen.messages,
                "grammar": seen.grammar,
                **{key: seen.candidate[key] for key in said},
                "arguments": json.loads(row["arguments"]),
            }
    return [shown[row["index"]] for row in wanted]


def print_preview(rows: Sequence[dict[str, Any]], console: Console, prompts: bool) -> None:
    """The rows one below the other; prompts only if asked for, as they are long."""
    for number, row in enumerate(rows, 1):
        head = f"{number}. {row['function']} / {row['category']} / {row['length']}  by {row['template']}"
        console.print(head, style="bold", markup=False, highlight=False)
        for message in row["messages"] if prompts else ():
            content = message["content"] if isinstance(message["content"], str) else "(text and an image)"
            console.print(f"   {message['role']}: {content}", style="dim", markup=False, highlight=False)
        if row["raw"] is not None and row["raw"].strip() != row["query"]:
            console.print(f"   raw    {row['raw'].strip()}", style="dim", markup=False, highlight=False)
        console.print(f"   query  {row['query']}", markup=False, highlight=False)
        console.print(f"   call   {json.dumps(row['arguments'], ensure_ascii=False)}", markup=False, highlight=False)
        verdict = "accepted" if row["accepted"] else f"rejected: {row['reason']} ({row['detail']})"
        console.print(f"   {verdict}", style="green" if row["accepted"] else "red", markup=False, highlight=False)
    accepted = sum(row["accepted"] for row in rows)
    console.print(f"\n{accepted} of {len(rows)} accepted", highlight=False)
