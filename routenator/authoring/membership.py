"""Which function of a derived API a call of the source's API belongs to: families.json, as families.py makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routenator.files import read_json

FILE = "families.json"


@dataclass(frozen=True)
class Family:
    """One function of the new API.

    Attributes:
        parent: the function that it was split from, or itself.
        parameter: the parent's category parameter, if its calls contain one.
        said: values of the category parameter, in any case, that belong to this family; empty: all values that no
            other family of the parent claims.
        present, absent: slots that its calls must have, and must not have.
        category: the category that ``said`` stands for.
        share: of the population.
    """

    name: str
    parent: str
    parameter: str | None = None
    said: tuple[str, ...] = ()
    present: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    category: str | None = None
    share: float = 0.0

    def holds(self, slots: Mapping[str, Any]) -> bool:
        """Whether a call with these arguments has the slots of this family."""
        return self.present <= slots.keys() and not self.absent & slots.keys()


class Families:
    """Maps calls of the source's API to the functions of the new one."""

    def __init__(self, members: Sequence[Family]) -> None:
        self.members = list(members)
        self._by_value: dict[tuple[str, str], list[Family]] = {}
        self._others: dict[str, list[Family]] = {}
        for member in members:
            for value in member.said:
                self._by_value.setdefault((member.parent, value.casefold()), []).append(member)
            if not member.said:
                self._others.setdefault(member.parent, []).append(member)
        self._parameter = {member.parent: member.parameter for member in members}

    def of(self, name: str, arguments: Mapping[str, Any]) -> str | None:
        """The new function for a call of the source's API; None if its function was left out."""
        value = arguments.get(self._parameter.get(name) or "")
        members = self._others.get(name, [])
        if value is not None:
            members = self._by_value.get((name, str(value).casefold()), members)
        return next((member.name for member in members if member.holds(arguments)), None)

    def as_list(self) -> list[dict[str, Any]]:
        """The content of ``families.json``."""
        return [
            {
                "name": m.name,
                "from": m.parent,
                "when": {
                    **({"parameter": m.parameter, "says": list(m.said)} if m.said else {}),
                    **({"present": sorted(m.present)} if m.present else {}),
                    **({"absent": sorted(m.absent)} if m.absent else {}),
                },
                "parameter": m.parameter,
                "share": m.share,
            }
            for m in self.members
        ]


def load_families(file: Path) -> Families:
    """Load the families of a derived domain.

    Args:
        file: its ``families.json``.
    """
    return Families(
        [
            Family(
                entry["name"],
                entry["from"],
                entry["parameter"],
                tuple(entry["when"].get("says", ())),
                frozenset(entry["when"].get("present", ())),
                frozenset(entry["when"].get("absent", ())),
                share=entry["share"],
            )
            for entry in read_json(file)
        ]
    )
