"""Shortfall: finds the strata that the first round leaves short of their quota, and writes a second round of requests.

It decides on all candidates as the merge will. Where nothing is to be requested, the merge takes over the decisions;
otherwise it decides again, on the candidates of both rounds. The indices of the second round follow those of the first,
so its rows are new, and those of the first stay as they are.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from jobs.deciding import decided
from jobs.inputs import candidate_files, read_strata
from jobs.sample import write_requests
from jobs.scratch import Scratch
from jobs.task import Task
from routenator.dataset.merge import count_passes
from routenator.dataset.rounds import measure, round_tables
from routenator.dataset.sources import open_sources
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.sampling.needs import Need, find_need
from routenator.sampling.sampler import Sampler
from routenator.sampling.shares import largest_remainder

VERSION = 1


def run(task: Task) -> None:
    """Write the requests as parquet (role ``data``), or the decisions on the candidates if there is nothing to request.

    Raises:
        CorruptShardError: a shard of candidates differs from its receipt.
        InputError: ``merge.spill_dir`` cannot be written or has too little room.
    """
    if task.is_done():
        return
    scratch = Scratch(task, task.config.merge.spill_dir)
    try:
        own = scratch.begin()
        try:
            _build(task, scratch, own)
        except Exception:
            # Only after an error; a killed attempt leaves its finished decisions to the next one.
            scratch.end()
            raise
        scratch.end()
        shutil.rmtree(task.work_dir, ignore_errors=True)
    except OSError:
        # Another attempt may have won and removed the work folder while we used it; then there is nothing left to do.
        if not task.is_done():
            raise


def _build(task: Task, scratch: Scratch, own: Path) -> None:
    config = task.config
    domain = load_domain(task.run.domain_dir)
    golden = load_golden(task.run.golden_file, domain.functions, may_be_empty=True)
    named = read_strata(task.run)
    strata = [stratum.as_dict() for stratum in named]
    candidates, rounds = candidate_files(task, second_round=False)
    sources = open_sources(candidates)
    total = sum(source.rows for source in sources)
    passes = count_passes(config.merge.near_duplicates, config.merge.ambiguity != "off")
    decisions = decided(task, scratch, own, sources, strata, golden, lambda done: task.progress(done // passes, total))
    measured, _ = measure(strata, round_tables(decisions, list(rounds.values())), {})
    need = find_need(named, decisions.deficits, measured, config)
    asked = at_most(need.asked, math.ceil(total * config.generate.refill))
    files: dict[str, Path] = {}
    if any(asked):
        files["data"] = task.output(".parquet")
        sampler = Sampler(domain, config, asked, first=total)
        for _ in write_requests(sampler, 0, sampler.size, files["data"]):
            pass
    else:
        for path in sorted(decisions.folder.iterdir()):
            files[path.name] = task.output(f".{path.name}")
            shutil.copyfile(path, files[path.name])
    metrics = {
        "requested": total,
        "strata_short": len(need.short),
        "rows_short": sum(need.wanted),
        "strata_given_up": len(need.hopeless),
        "note": note(need, asked),
    }
    task.commit(files, rows=sum(asked), metrics=metrics)


def at_most(asked: list[int], most: int) -> list[int]:
    """Return these requests, all scaled down alike if they add up to more than ``most``."""
    return asked if sum(asked) <= most else largest_remainder(asked, most)


def note(need: Need, asked: list[int]) -> str:
    """Say in one line what is missing, and what the second round does about it."""
    if not need.short:
        return "every quota is met; nothing more is requested"
    text = f"{_count(sum(need.wanted), 'row')} missing in {_count(len(need.short), 'stratum', 'strata')}"
    text += f"; {_count(sum(asked), 'more request')}" if any(asked) else "; nothing more is requested"
    if sum(asked) < sum(need.asked):
        text += f" of {sum(need.asked):,} (generate.refill allows no more)"
    if need.hopeless:
        lost = _count(len(need.hopeless), "stratum", "strata")
        text += f"; {lost} given up, as no request survived"
    return text


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
