"""Every reason for which a request does not become an example, in one place: code, what it means, and where it is
given.

The code is what stands in ``rejected.parquet``, in the receipts and in the report. docs/checks.md shows this table; a
test holds it to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from routenator.dataset.decisions import MEANINGS
from routenator.generation import agreement
from routenator.validation.checks import CHECKS, EARLY_REASONS


@dataclass(frozen=True)
class Reason:
    """One way to be left out.

    Attributes:
        code: the name.
        meaning: in a sentence.
        where: before there is a query; by a check of the query; by the generator that is asked; in the merge, where all
            rows are known.
    """

    code: str
    meaning: str
    where: Literal["before", "check", "agreement", "merge"]


REASONS: tuple[Reason, ...] = (
    *(Reason(code, meaning, "before") for code, meaning in EARLY_REASONS.items()),
    *(Reason(code, meaning, "check") for code, (_, meaning) in CHECKS.items()),
    Reason(agreement.REASON, agreement.MEANING, "agreement"),
    *(Reason(decision.reason, meaning, "merge") for decision, meaning in MEANINGS.items()),
)
