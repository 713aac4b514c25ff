"""Every reason a request may fail to become an example: its code, its meaning and the step that gives it.

``rejected.parquet``, the receipts and the report use the codes. docs/checks.md shows this table; a test compares both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from routenator.dataset import decisions
from routenator.generation import agreement
from routenator.validation.checks import CHECKS, EARLY_REASONS


@dataclass(frozen=True)
class Reason:
    """One reason for a rejection.

    Attributes:
        code: short name.
        meaning: explanation in a few words.
        where: "before" there is a query, by a "check" of the query, by an "agreement" check of query and call, or in
            the "merge", which sees all rows.
    """

    code: str
    meaning: str
    where: Literal["before", "check", "agreement", "merge"]


REASONS: tuple[Reason, ...] = (
    *(Reason(code, meaning, "before") for code, meaning in EARLY_REASONS.items()),
    *(Reason(code, meaning, "check") for code, (_, meaning) in CHECKS.items()),
    *(Reason(code, meaning, "agreement") for code, meaning in agreement.MEANINGS.items()),
    *(Reason(decision.reason, meaning, "merge") for decision, meaning in decisions.MEANINGS.items()),
)
