"""The rows that a merge leaves short of its quotas, and the requests that would fill them.

Both ways to fill them ask here: the second round of a run (jobs/shortfall.py), and a top-up (slurm/planning/topup.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from routenator.config import RunConfig
from routenator.sampling.acceptance import HOPELESS_AFTER, Acceptance
from routenator.sampling.strata import KEY, Stratum


@dataclass(frozen=True)
class Need:
    """The rows that a finished merge lacks, and the requests to fill them.

    Attributes:
        strata: the run's strata.
        wanted: rows that each stratum is short of its quota, including those filled from other strata.
        asked: requests of each stratum for them; 0 where nothing is missing or the stratum is hopeless.
        hopeless: strata that are short and had no survivor among ``HOPELESS_AFTER`` or more requests, in the newest
            round or in all: number -> those requests.
        limited: number of strata that would need more requests than ``generate.oversample_limit`` allows.
    """

    strata: list[Stratum]
    wanted: list[int]
    asked: list[int]
    hopeless: dict[int, int]
    limited: int

    @property
    def short(self) -> list[int]:
        """Numbers of the strata that are short of their quota."""
        return [number for number, rows in enumerate(self.wanted) if rows]


def find_need(
    strata: Sequence[Stratum], deficits: Sequence[Mapping[str, Any]], measured: Acceptance, config: RunConfig
) -> Need:
    """Return the rows that are missing, by stratum, and the requests that would fill them.

    Acceptance is taken from the newest round alone, because a stratum's distinct queries may be used up: then later
    requests yield only duplicates.

    Args:
        strata: of the run.
        deficits: of the merge's decisions.
        measured: acceptance of these strata, in the same order.
        config: of the run.
    """
    wanted = [0] * len(strata)
    for row in deficits:
        wanted[row["stratum"]] = row["quota"] - row["own"]
    newest = measured.newest()
    hopeless = {}
    for number, rows in enumerate(wanted):
        if rows:
            last, whole = newest.rows[number], measured.rows[number]
            if last["requested"] >= HOPELESS_AFTER and not last["kept"]:
                hopeless[number] = int(last["requested"])
            elif whole["requested"] >= HOPELESS_AFTER and not whole["kept"]:
                hopeless[number] = int(whole["requested"])
    hope = [0 if number in hopeless else rows for number, rows in enumerate(wanted)]
    asked = requests(newest, strata, hope, config)
    limit = config.generate.oversample_limit
    limited = sum(rows > 0 and ask >= row.quota * limit for row, rows, ask in zip(strata, hope, asked, strict=True))
    return Need(list(strata), wanted, asked, hopeless, limited)


def requests(acceptance: Acceptance, strata: Sequence[Stratum], wanted: Sequence[int], config: RunConfig) -> list[int]:
    """Return the requests of each stratum for the wanted rows; 0 for 0.

    A stratum with no survivors so far is only probed, with just enough requests to tell whether it is hopeless, or two
    per wanted row. A hopeless one gets ``generate.oversample``, as if nothing were known.
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
