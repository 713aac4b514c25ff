"""Finds the measured acceptance that ``generate.acceptance`` names, and computes each stratum's requests from it.

It is read once, when the plan is made. The plan holds the resulting numbers and RUN/acceptance.json is a copy of the
file, so later changes to the file have no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jobs.plan import Measured, Plan, Run
from jobs.task import read_receipt, receipt_path
from routenator.config import RunConfig
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.files import sha256_file
from routenator.sampling.acceptance import LEVELS, Acceptance, load_acceptance, read_note
from routenator.sampling.needs import requests
from routenator.sampling.strata import KEY, Stratum, build_strata
from routenator.trust import is_own, named_group

AUTO = "auto"
FILE = "acceptance.json"
_NAMED = 5  # hopeless strata named in a message


def find(config: RunConfig, key: str) -> Path | None:
    """Return the file that ``generate.acceptance`` refers to; None if it is unset, or ``auto`` finds none.

    Raises:
        InputError: there is no such file, or the run's merge is not done.
    """
    source = config.generate.acceptance
    if source is None:
        return None
    return newest(config, key) if source == AUTO else measured_file(Path(source))


def measured_file(path: Path) -> Path:
    """Return the acceptance.json of a run or of a merge stage's folder, or the file itself.

    Raises:
        InputError: the run's merge is not done.
    """
    if (path / "plan.json").is_file():
        run = Run.load(path)
        if "merge" not in run.plan.stages or read_receipt(run.stage_dir("merge"), 0) is None:
            raise InputError(
                "this run has not measured acceptance",
                file=path,
                key="generate.acceptance",
                found="its merge is not done",
                expected="a run whose merge is done",
            )
        return run.stage_dir("merge") / FILE
    return path / FILE if path.is_dir() else path


def newest(config: RunConfig, key: str) -> Path | None:
    """Return the newest acceptance in the store that fits: same domain, generation, checks and deduplication.

    Skips what somebody else could have written, and a merge of the same size and seed, which is this run's own:
    repeating a command must give the same plan.
    """
    found: list[tuple[str, int, str, Path]] = []
    for file in (Path(config.root) / "stages").glob(f"merge-*/{FILE}"):
        receipt = read_receipt(file.parent, 0) if is_own(file.parent, named_group()) else None
        if receipt is None:
            continue
        note = read_note(file)
        if note.get("likeness") == key and (note.get("size"), note.get("seed")) != (
            config.dataset.size,
            config.seed,
        ):
            # Receipts have a resolution of seconds, and a top-up can follow its base within one; so use mtime too.
            written = receipt_path(file.parent, 0).stat().st_mtime_ns
            found.append((receipt.finished, written, file.parent.name, file))
    return max(found)[-1] if found else None


def plan_requests(config: RunConfig, file: Path) -> tuple[Measured, list[int]]:
    """Return the requests of each stratum of this config, based on the acceptance in a file.

    Raises:
        InputError: it is not an acceptance file, or was measured on other functions and routes.
    """
    acceptance = load_acceptance(file)
    strata = build_strata(load_domain(Path(config.domain)), config)
    _check_fits(acceptance, strata, file)
    return Measured(file=str(file), sha256=sha256_file(file)), requests(
        acceptance, strata, [row.quota for row in strata], config
    )


def acceptance_note(asked: str | None, plan: Plan) -> str | None:
    """Describe the acceptance that a plan is based on; None if none was requested.

    Args:
        asked: ``generate.acceptance`` as composed.
    """
    if plan.acceptance is not None and plan.requested is not None:
        rows = f"{sum(plan.requested):,} requests for {plan.config.dataset.size:,} rows"
        text = f"{rows}, based on the acceptance measured in {plan.acceptance.file}"
        lost = [
            " / ".join(str(row[name]) for name in KEY if name != "route")
            for row in load_acceptance(Path(plan.acceptance.file)).hopeless()
        ]
        if lost:
            more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
            text += (
                f"\n  nothing survived there of: {'; '.join(lost[:_NAMED])}{more}; "
                "their requests follow generate.oversample"
            )
        return text
    if asked == AUTO:
        return (
            "acceptance: auto found no earlier run with the same domain, generation and checks; "
            "requests follow generate.oversample"
        )
    return None


def _check_fits(acceptance: Acceptance, strata: Sequence[Stratum], file: Path) -> None:
    names = LEVELS[-1]
    ours = {tuple(str(getattr(row, name)) for name in names) for row in strata}
    theirs = {tuple(str(row[name]) for name in names) for row in acceptance.rows}
    if not ours & theirs:
        raise InputError(
            "this acceptance was measured on other functions and routes",
            file=file,
            key="generate.acceptance",
            found=f"no {' x '.join(names)} of this run",
            expected="a pilot or an earlier run of this domain",
        )
