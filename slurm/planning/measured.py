"""Which measured acceptance a plan is made by, and the requests that follow from it: ``generate.acceptance``.

It is read when the plan is made. The plan holds the numbers, and RUN/acceptance.json is a copy of what they were made
of, so what becomes of the file afterwards changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from jobs.plan import Measured, Plan, Run
from jobs.task import read_receipt, receipt_path
from routenator.config import RunConfig
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.files import sha256_file
from routenator.sampling.acceptance import HOPELESS_AFTER, LEVELS, Acceptance, load_acceptance, read_note
from routenator.sampling.strata import KEY, Stratum, build_strata

AUTO = "auto"
FILE = "acceptance.json"
_NAMED = 5  # hopeless strata


def find(config: RunConfig, key: str) -> Path | None:
    """The file that ``generate.acceptance`` means; None where it names none, or ``auto`` finds none.

    Raises:
        InputError: there is no such file, or the run's merge is not done.
    """
    source = config.generate.acceptance
    if source is None:
        return None
    return newest(config, key) if source == AUTO else measured_file(Path(source))


def measured_file(path: Path) -> Path:
    """The acceptance.json of a run, of a merge stage's folder, or the file itself.

    Raises:
        InputError: it is not there.
    """
    if (path / "plan.json").is_file():
        run = Run.load(path)
        if "merge" not in run.plan.stages or read_receipt(run.stage_dir("merge"), 0) is None:
            raise InputError(
                "this run has measured no acceptance",
                file=path,
                key="generate.acceptance",
                found="its merge is not done",
                expected="a run whose merge is done",
            )
        return run.stage_dir("merge") / FILE
    return path / FILE if path.is_dir() else path


def newest(config: RunConfig, key: str) -> Path | None:
    """The newest finished merge in the store whose acceptance fits this config: same domain, generation, checks, dedup.

    One of the same size and seed is left out: it is this very run's own, and repeating a command shall find the same
    plan.
    """
    found: list[tuple[str, int, str, Path]] = []
    for file in (Path(config.root) / "stages").glob(f"merge-*/{FILE}"):
        receipt = read_receipt(file.parent, 0)
        if receipt is None:
            continue
        note = read_note(file)
        if note.get("likeness") == key and (note.get("size"), note.get("seed")) != (
            config.dataset.size,
            config.seed,
        ):
            # Receipts tell seconds; a top-up can follow its base within one.
            written = receipt_path(file.parent, 0).stat().st_mtime_ns
            found.append((receipt.finished, written, file.parent.name, file))
    return max(found)[-1] if found else None


def plan_requests(config: RunConfig, file: Path) -> tuple[Measured, list[int]]:
    """The requests of each stratum of this config by the acceptance in a file.

    Raises:
        InputError: it is no such file, or was measured on other functions and routes.
    """
    acceptance = load_acceptance(file)
    strata = build_strata(load_domain(Path(config.domain)), config)
    _check_fits(acceptance, strata, file)
    return Measured(file=str(file), sha256=sha256_file(file)), requests(
        acceptance, strata, [row.quota for row in strata], config
    )


def requests(acceptance: Acceptance, strata: Sequence[Stratum], wanted: Sequence[int], config: RunConfig) -> list[int]:
    """Requests of each stratum, for so many wanted rows of each; 0 for 0.

    A stratum of which nothing survived so far is only probed: with as many requests as tell whether there is hope, or
    two a wanted row. One that is past hope is asked for by ``generate.oversample``, as if nothing were known.
    """
    import numpy as np

    rows, generate = [row.as_dict() for row in strata], config.generate
    most = np.ceil(np.array([row.quota for row in strata]) * generate.oversample_limit).astype(np.int64)
    found: list[int] = (
        acceptance.posterior(rows).requests(np.array(wanted, dtype=np.int64), generate.confidence, most).tolist()
    )
    for number, (row, rows_wanted) in enumerate(zip(rows, wanted, strict=True)):
        kept, requested = acceptance.counts.get(tuple(str(row[name]) for name in KEY), (0, 0))
        if kept or not requested or not rows_wanted:
            continue
        flat = math.ceil(rows_wanted * generate.oversample.get(row["route"], 1.0))
        probe = max(HOPELESS_AFTER, 2 * rows_wanted)
        found[number] = flat if requested >= HOPELESS_AFTER else min(found[number], probe)
    return found


def acceptance_note(asked: str | None, plan: Plan) -> str | None:
    """Which acceptance a plan was made by; None if none was asked for.

    Args:
        asked: ``generate.acceptance`` as composed.
    """
    if plan.acceptance is not None and plan.requested is not None:
        rows = f"{sum(plan.requested):,} requests for {plan.config.dataset.size:,} rows"
        text = f"{rows}, by the acceptance measured in {plan.acceptance.file}"
        lost = [
            " / ".join(str(row[name]) for name in KEY if name != "route")
            for row in load_acceptance(Path(plan.acceptance.file)).hopeless()
        ]
        if lost:
            more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
            text += (
                f"\n  nothing survived there of: {'; '.join(lost[:_NAMED])}{more}; "
                "these are asked for by generate.oversample"
            )
        return text
    if asked == AUTO:
        return (
            "acceptance: auto finds no earlier run of the same domain, generation and checks; "
            "requests by generate.oversample"
        )
    return None


def _check_fits(acceptance: Acceptance, strata: Sequence[Stratum], file: Path) -> None:
    names = LEVELS[-1]
    ours = {tuple(str(getattr(row, name)) for name in names) for row in strata}
    theirs = {tuple(str(row[name]) for name in names) for row in acceptance.rows}
    if not ours & theirs:
        raise InputError(
            "this acceptance was measured on something else",
            file=file,
            key="generate.acceptance",
            found=f"no {' x '.join(names)} of this run",
            expected="a pilot or an earlier run of this domain",
        )
