"""Generates a few rows without a run, to show prompts, replies and the results of the checks."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from routenator.config import RunConfig
from routenator.domain.calls import read_calls
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.generation.generator import Generator
from routenator.models import cache_folder
from routenator.sampling.sampler import Sampler
from routenator.terminal import put
from routenator.wording.composer import Composer
from slurm.planning.planner import compile_loops

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

_BLOCK = 4096  # requests searched at once for rows to show


def preview(
    config: RunConfig, count: int, route: str | None = None, template: str | None = None
) -> list[dict[str, Any]]:
    """Generate and check the first requests of a run; writes nothing, but says on stderr what it compiles and loads.

    Args:
        config: the run's config.
        count: number of rows.
        route: only rows of this route.
        template: only rows of this template, as "route/name".

    Returns:
        For each row: function, category, route, template, length, messages (as sent to the model; none on the heuristic
        route), grammar, raw, query, calls, reply, accepted, reason, detail.

    Raises:
        InputError: the run has no rows of this route or template.
    """
    domain = load_domain(config.domain)
    sampler = Sampler(domain, config)
    strata = sampler.strata
    for key, name in (("route", route), ("template", template)):
        valid = {getattr(stratum, key) for stratum in strata}
        if name is not None and name not in valid:
            raise InputError(f"this run has no rows of this {key}", key=f"--{key}", found=name, valid=valid)
        strata = [stratum for stratum in strata if name in (None, getattr(stratum, key))]
    requests = _first(sampler, [stratum.stratum for stratum in strata], count)
    compile_loops(config)
    composer = Composer(domain, config, sampler.strata)
    wanted = composer.details(requests)
    generator = Generator(composer, cache_folder(config.cache))
    # Rows of one engine are generated together, as in the generate stage.
    groups: dict[str, list[int]] = defaultdict(list)
    for number, name in enumerate(wanted["route"].to_pylist()):
        engine = generator.engine_config(name)
        groups[engine.model_dump_json() if engine else ""].append(number)
    shown = {}
    for numbers in groups.values():
        engine = generator.engine_config(wanted["route"][numbers[0]].as_py())
        if engine is not None:
            put(f"loading {engine.model} in {engine.engine}", err=True)
        for seen in generator.preview(wanted.take(numbers)):
            row = seen.candidate
            keys = ("function", "category", "route", "template", "length")
            said = ("raw", "query", "reply", "accepted", "reason", "detail")
            shown[row["index"]] = {
                **{key: row[key] for key in keys},
                "messages": seen.messages,
                "grammar": seen.grammar,
                **{key: row[key] for key in said},
                "calls": [call._asdict() for call in read_calls(row["calls"])],
            }
    return [shown[index] for index in wanted["index"].to_pylist()]


def _first(sampler: Sampler, strata: Sequence[int], count: int) -> pa.Table:
    """Return the first requests of these strata."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = sampler.requests(0, 0)
    for start in range(0, sampler.size, _BLOCK):
        block = sampler.requests(start, min(start + _BLOCK, sampler.size))
        found = pa.concat_tables([found, block.filter(pc.is_in(block["stratum"], pa.array(strata, pa.int32())))])
        if found.num_rows >= count:
            break
    return found.slice(0, count)


def print_preview(rows: Sequence[dict[str, Any]], console: Console, prompts: bool) -> None:
    """Print the rows, with prompts only on request, because they are long."""
    for number, row in enumerate(rows, 1):
        head = f"{number}. {row['function']} / {row['category']} / {row['length']}  by {row['template']}"
        console.print(head, style="bold", markup=False, highlight=False)
        for message in row["messages"] if prompts else ():
            content = message["content"] if isinstance(message["content"], str) else "(text and an image)"
            console.print(f"   {message['role']}: {content}", style="dim", markup=False, highlight=False)
        if row["raw"] is not None and row["raw"].strip() != row["query"]:
            console.print(f"   raw    {row['raw'].strip()}", style="dim", markup=False, highlight=False)
        console.print(f"   query  {row['query']}", markup=False, highlight=False)
        for call in row["calls"]:
            arguments = json.dumps(call["arguments"], ensure_ascii=False)
            console.print(f"   call   {call['name']} {arguments}", markup=False, highlight=False)
        if not row["calls"]:
            console.print(f"   reply  {row['reply']}", markup=False, highlight=False)
        verdict = "accepted" if row["accepted"] else f"rejected: {row['reason']} ({row['detail']})"
        console.print(f"   {verdict}", style="green" if row["accepted"] else "red", markup=False, highlight=False)
    accepted = sum(row["accepted"] for row in rows)
    console.print(f"\n{accepted} of {len(rows)} accepted", highlight=False)
